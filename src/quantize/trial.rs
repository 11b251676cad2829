//! All layers in 8 bits, and where that costs too much as many as the gate allows.

use super::error::QuantizeError;
use super::gate::{self, Distance, Figured, Reference};
use super::outcome::{Outcome, Times};
use crate::engine::scales::{Gate, Kept, Scales};
use crate::engine::{self, EngineSpec, Precision, trial};

/// Pictures that are held out in the comparison of single layers.
const FEW: usize = 6;

/// The scales with as many layers as pass, and what floats of 8 bits cost in the same layers.
pub(super) fn search(
    spec: &EngineSpec,
    draft: Scales,
    reference: &Reference,
    figured: Option<&Figured<'_>>,
    tell: &mut dyn FnMut(&str, usize, usize),
) -> Result<Outcome, QuantizeError> {
    let mut outcome = choose(spec, draft, reference, figured, tell)?;
    if outcome.holds {
        tell("comparing maps in fp8", 0, 1);
        // What was found for int8 stands, whatever becomes of this.
        match floats(spec, &outcome.scales, reference, figured, tell) {
            Ok(gate) => outcome.scales.fp8 = Some(gate),
            Err(error) => tracing::warn!(%error, "fp8 could not be measured: the scales are for int8 alone"),
        }
    }
    Ok(outcome)
}

/// What floats of 8 bits cost in the layers of these scales.
fn floats(
    spec: &EngineSpec,
    scales: &Scales,
    reference: &Reference,
    figured: Option<&Figured<'_>>,
    tell: &mut dyn FnMut(&str, usize, usize),
) -> Result<Gate, QuantizeError> {
    let spec = EngineSpec { precision: Precision::Fp8, ..spec.clone() };
    let mut engine = trial::with_scales(&spec, scales.clone())?;
    let found = reference.distance(&reference.look(engine.as_mut(), usize::MAX)?);
    let allowed = scales.gate.allowed;
    let mut gate = Gate { allowed, map: found.map, worst: found.worst, score: found.score, figures: Vec::new() };
    if gate.holds()
        && let Some(figured) = figured
    {
        tell("measuring the labelled data set in fp8", 0, 1);
        gate.figures = figured.compare(engine.as_mut())?;
    }
    Ok(gate)
}

fn choose(
    spec: &EngineSpec,
    draft: Scales,
    reference: &Reference,
    figured: Option<&Figured<'_>>,
    tell: &mut dyn FnMut(&str, usize, usize),
) -> Result<Outcome, QuantizeError> {
    // What the line would compute in without scales.
    let usual = EngineSpec { precision: trial::usual_precision(), ..spec.clone() };
    let rest = reference.look(engine::open(&usual)?.as_mut(), usize::MAX)?;
    let mut times = Times { fp32: reference.time(), without: rest.time, int8: reference.time() };
    let without = reference.distance(&rest);
    let mut judge =
        |mut scales: Scales, tell: &mut dyn FnMut(&str, usize, usize)| -> Result<(Scales, bool), QuantizeError> {
            let mut engine = trial::with_scales(spec, scales.clone())?;
            let answers = reference.look(engine.as_mut(), usize::MAX)?;
            times.int8 = answers.time;
            let found = reference.distance(&answers);
            scales.gate = Gate { map: found.map, worst: found.worst, score: found.score, ..scales.gate };
            let mut passed = scales.gate.holds();
            if passed && let Some(figured) = figured {
                tell("measuring the labelled data set", 0, 1);
                scales.gate.figures = figured.compare(engine.as_mut())?;
                passed = scales.gate.holds();
            }
            Ok((scales, passed))
        };
    let (all, passed) = judge(draft.clone(), tell)?;
    let whole = Distance { map: all.gate.map, worst: all.gate.worst, score: all.gate.score };
    if passed {
        return Ok(Outcome { scales: all, holds: true, costs: Vec::new(), without, whole, times });
    }

    let mut costs = Vec::with_capacity(draft.layers.len());
    for (at, (name, layer)) in draft.layers.iter().enumerate() {
        tell("measuring each layer alone", at, draft.layers.len());
        let layers = [(name.clone(), layer.clone())].into();
        let mut engine = trial::with_scales(spec, Scales { layers, ..draft.clone() })?;
        let found = gate::distance(&reference.look(engine.as_mut(), FEW)?, &rest);
        costs.push(Kept { layer: name.clone(), map: found.map, score: found.score });
    }
    let cost = |of: &Kept| of.map.max(of.score / 2.0);
    costs.sort_by(|a, b| cost(b).total_cmp(&cost(a)));

    // The fewest of the worst layers without which the gate holds: it nearly always holds with more of them left out.
    let (mut too_few, mut enough) = (0, costs.len());
    let mut best = None;
    let mut without_worst = |count: usize, tell: &mut dyn FnMut(&str, usize, usize)| {
        let kept = costs[..count].to_vec();
        let mut scales = Scales { kept, ..draft.clone() };
        scales.layers.retain(|name, _| costs[count..].iter().any(|cost| cost.layer == *name));
        judge(scales, tell)
    };
    let mut count = 1;
    while enough - too_few > 1 {
        tell("leaving out the worst layers", count, costs.len());
        let (scales, passed) = without_worst(count, tell)?;
        if passed {
            (enough, best) = (count, Some(scales));
        } else {
            too_few = count;
        }
        // Doubled until one passes, then halved.
        count = if best.is_none() { (2 * count).min(costs.len() - 1) } else { usize::midpoint(too_few, enough) };
        if count == too_few {
            break;
        }
    }
    Ok(match best {
        Some(scales) => Outcome { scales, holds: true, costs, without, whole, times },
        None => Outcome { scales: all, holds: false, costs, without, whole, times },
    })
}

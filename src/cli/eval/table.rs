//! The figures of an evaluation as tables for a terminal: percent, aligned, one line a class.

use std::fmt::Write;

use crate::eval::Evaluation;
use crate::eval::figures::{ClassFigures, Figures, MethodFigures};
use crate::eval::sizes::{BySize, SizeFigures};
use crate::eval::tune::Tuned;

/// Between two columns.
const GAP: &str = "  ";
/// A figure that is not defined.
const NONE: &str = "–";

/// Per method the paper's columns, then the raw ones.
pub fn tables(evaluation: &Evaluation) -> String {
    let mut text = String::new();
    let several = evaluation.methods.len() > 1;
    for method in evaluation.methods.iter().map(|method| &method.figures) {
        let whose = if several { format!("{}: ", method.method) } else { String::new() };
        text.push_str(&format!("{whose}as published (percent; values normalised over each class's pictures)\n"));
        text.push_str(&published(method));
        text.push_str(&format!("\n{whose}raw (percent; no normalisation; shared = one threshold for all classes)\n"));
        text.push_str(&raw(method));
        text.push('\n');
        if !method.by_size.all.is_empty() {
            let good = shortest(method.by_size.settings.good_failing * 100.0);
            text.push_str(&format!(
                "{whose}by size of the defect (percent; diameter of the circle with its area, pixels of the picture; thresholds that \
                 {good} % of each class's good pictures exceed)\n"
            ));
            text.push_str(&by_size(&method.by_size));
            text.push('\n');
        }
    }
    text
}

/// What tuning tried.
pub fn tuned(tuned: &Tuned) -> String {
    let mut text = format!(
        "baseline tuned on {} ({} pictures): window {} px, sigma {} px, AUPRO {}\n",
        tuned.classes.join(", "),
        tuned.pictures,
        tuned.baseline.window,
        tuned.baseline.sigma,
        percent(tuned.aupro)
    );
    let header = row(["window", "sigma", "AUPRO"]);
    let trial = |trial: &crate::eval::tune::Trial| {
        vec![trial.baseline.window.to_string(), trial.baseline.sigma.to_string(), percent(trial.aupro)]
    };
    text.push_str(&aligned(&header, &tuned.tried.iter().map(trial).collect::<Vec<_>>(), 0));
    text
}

fn published(method: &MethodFigures) -> String {
    let header = row([
        "class",
        "good",
        "bad",
        "AUROC",
        "AUPRO",
        "AP",
        "F1-max",
        "IoU",
        "threshold",
        "img AUROC",
        "img AP",
        "img F1-max",
    ]);
    let line = |class: &ClassFigures| {
        let Figures { pixel, image } = &class.normalised;
        let mut cells = vec![class.class.clone(), class.good.to_string(), class.anomalous.to_string()];
        cells.extend([pixel.auroc, pixel.aupro, pixel.ap, pixel.f1, pixel.iou].map(percent));
        cells.push(threshold(pixel.threshold));
        cells.extend([image.auroc, image.ap, image.f1].map(percent));
        cells
    };
    aligned(&header, &lines(method, line), 1)
}

fn raw(method: &MethodFigures) -> String {
    let header = row([
        "class",
        "AUROC",
        "AUPRO",
        "AP",
        "F1-max",
        "IoU",
        "threshold",
        "F1 shared",
        "IoU shared",
        "img AUROC",
        "img AP",
        "img F1-max",
        "threshold",
        "img F1 shared",
    ]);
    let cells = |name: &str, figures: &Figures, shared: [String; 3]| {
        let Figures { pixel, image } = figures;
        let [pixel_f1, pixel_iou, image_f1] = shared;
        let mut cells = vec![name.to_owned()];
        cells.extend([pixel.auroc, pixel.aupro, pixel.ap, pixel.f1, pixel.iou].map(percent));
        cells.extend([threshold(pixel.threshold), pixel_f1, pixel_iou]);
        cells.extend([image.auroc, image.ap, image.f1].map(percent));
        cells.extend([threshold(image.threshold), image_f1]);
        cells
    };
    let line = |class: &ClassFigures| {
        let shared = [class.shared.pixel_f1, class.shared.pixel_iou, class.shared.image_f1].map(percent);
        cells(&class.class, &class.raw, shared)
    };
    let mut all = lines(method, line);
    all.push(cells("pooled", &method.pooled, [String::new(), String::new(), String::new()]));
    aligned(&header, &all, 2)
}

fn by_size(sizes: &BySize) -> String {
    let header = row(["class", "size", "parts", "recall", "defects", "recall on map", "AUPRO"]);
    let line = |class: &str, bin: &SizeFigures| {
        let mut cells = vec![class.to_owned(), bin.name(), bin.parts.to_string(), percent(bin.recall)];
        cells.extend([bin.defects.to_string(), percent(bin.recall_on_map), percent(bin.aupro)]);
        cells
    };
    let classes = sizes.classes.iter().flat_map(|class| class.bins.iter().map(move |bin| (class.class.as_str(), bin)));
    let all: Vec<Vec<String>> =
        classes.chain(sizes.all.iter().map(|bin| ("all", bin))).map(|(class, bin)| line(class, bin)).collect();
    aligned(&header, &all, sizes.all.len())
}

/// Without digits that say nothing.
fn shortest(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn lines(method: &MethodFigures, line: impl Fn(&ClassFigures) -> Vec<String>) -> Vec<Vec<String>> {
    method.classes.iter().chain([&method.mean]).map(line).collect()
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// The first column to the left, the others to the right; a rule above the last `below` lines.
fn aligned(header: &[String], lines: &[Vec<String>], below: usize) -> String {
    let width = |cell: &String| cell.chars().count();
    let mut widths: Vec<usize> = header.iter().map(width).collect();
    for line in lines {
        widths.iter_mut().zip(line).for_each(|(most, cell)| *most = width(cell).max(*most));
    }
    let rule = "─".repeat(widths.iter().sum::<usize>() + GAP.len() * (widths.len() - 1));
    let mut text = String::new();
    for (i, line) in [header].into_iter().chain(lines.iter().map(Vec::as_slice)).enumerate() {
        if i == 1 || (below > 0 && i == lines.len() + 1 - below) {
            text.push_str(&rule);
            text.push('\n');
        }
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            // Writing to a string cannot fail.
            let written = match column {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "{GAP}{cell:>width$}"),
            };
            debug_assert!(written.is_ok());
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn percent(value: f64) -> String {
    if value.is_finite() { format!("{:.2}", value * 100.0) } else { NONE.to_owned() }
}

fn threshold(value: f32) -> String {
    if value.is_finite() { format!("{value:.4}") } else { NONE.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let lines = [row(["käse", "1.00", "–"]), row(["mean", "100.00", "7"])];
        let text = aligned(&row(["class", "AP", "n"]), &lines, 1);
        let expected = "class      AP  n\n────────────────\nkäse     1.00  –\n────────────────\nmean   100.00  7\n";
        assert_eq!(text, expected);
    }
}

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

/// Per method the paper's columns, then the raw ones; 80 columns wide where names of classes have up to 16.
pub fn tables(evaluation: &Evaluation) -> String {
    let mut text = String::new();
    let several = evaluation.methods.len() > 1;
    for method in evaluation.methods.iter().map(|method| &method.figures) {
        let whose = if several { format!("{}: ", method.method) } else { String::new() };
        text += &format!("{whose}as published (percent; values normalised over each class's pictures)\n");
        text += &pixels(method, |class| &class.normalised, None);
        text.push('\n');
        text += &pictures(method, |class| &class.normalised, None);
        text += &format!("\n{whose}raw (percent; no normalisation)\n");
        text += &pixels(method, |class| &class.raw, Some(&method.pooled));
        text.push('\n');
        text += &pictures(method, |class| &class.raw, Some(&method.pooled));
        text.push('\n');
        text += &shared(method);
        text.push('\n');
        if !method.by_size.all.is_empty() {
            let good = shortest(method.by_size.settings.good_failing * 100.0);
            text += &format!(
                "{whose}by size of the defect (percent; size: diameter in pixels of the picture of the\n\
                 circle with its area; thresholds that {good} % of each class's good pictures exceed)\n"
            );
            text += &by_size(&method.by_size);
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

/// A table of its classes, their mean and, where it is asked for, all their pictures together.
fn table(
    method: &MethodFigures,
    header: &[&str],
    of: impl Fn(&ClassFigures) -> &Figures,
    pooled: Option<&Figures>,
    cells: impl Fn(&Figures) -> Vec<String>,
) -> String {
    let line = |name: &str, figures: &Figures| [vec![name.to_owned()], cells(figures)].concat();
    let mut all = lines(method, |class| line(&class.class, of(class)));
    all.extend(pooled.map(|figures| line("pooled", figures)));
    aligned(&header.iter().map(ToString::to_string).collect::<Vec<_>>(), &all, 1 + usize::from(pooled.is_some()))
}

fn pixels(method: &MethodFigures, of: impl Fn(&ClassFigures) -> &Figures, pooled: Option<&Figures>) -> String {
    let header = ["pixels", "AUROC", "AUPRO", "AP", "F1-max", "IoU", "threshold"];
    table(method, &header, of, pooled, |Figures { pixel, .. }| {
        let mut cells = [pixel.auroc, pixel.aupro, pixel.ap, pixel.f1, pixel.iou].map(percent).to_vec();
        cells.push(threshold(pixel.threshold));
        cells
    })
}

fn pictures(method: &MethodFigures, of: impl Fn(&ClassFigures) -> &Figures, pooled: Option<&Figures>) -> String {
    let header = ["pictures", "AUROC", "AP", "F1-max", "threshold"];
    table(method, &header, of, pooled, |Figures { image, .. }| {
        let mut cells = [image.auroc, image.ap, image.f1].map(percent).to_vec();
        cells.push(threshold(image.threshold));
        cells
    })
}

/// With one threshold for all classes, and how many pictures there are.
fn shared(method: &MethodFigures) -> String {
    let line = |class: &ClassFigures| {
        let mut cells = vec![class.class.clone(), class.good.to_string(), class.anomalous.to_string()];
        cells.extend([class.shared.pixel_f1, class.shared.pixel_iou, class.shared.image_f1].map(percent));
        cells
    };
    let header = row(["one threshold", "good", "bad", "pixel F1", "pixel IoU", "picture F1"]);
    aligned(&header, &lines(method, line), 1)
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

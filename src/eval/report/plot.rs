//! Curves and distributions as SVG that stands in the page and takes its colours from the page's style.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::ReportError;
use crate::eval::curves::{Distribution, OperatingPoints, PRO_RATE};

/// Size of a plot in its own units; the page scales it.
const SIZE: (u32, u32) = (330, 262);

/// Stand-ins that the style sheet replaces, so that one plot serves the light and the dark page.
const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
/// The model, and what is anomalous.
const FIRST: RGBColor = RGBColor(3, 3, 3);
/// The baseline, and what is normal.
const SECOND: RGBColor = RGBColor(4, 4, 4);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A kind of curve.
#[derive(Clone, Copy)]
pub(super) struct Axes {
    pub(super) title: &'static str,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    /// Right end of the x axis.
    pub(super) largest: f64,
}

pub(super) const ROC: Axes = Axes { title: "ROC", x: "false-positive rate", y: "true-positive rate", largest: 1.0 };
pub(super) const PRECISION_RECALL: Axes =
    Axes { title: "Precision–recall", x: "recall", y: "precision", largest: 1.0 };
pub(super) const OVERLAP: Axes =
    Axes { title: "PRO", x: "false-positive rate", y: "mean overlap with regions", largest: PRO_RATE };

/// Draws at most two curves, the first on top: the model's and the baseline's, or two kinds of errors.
pub(super) fn curves(axes: Axes, points: &[&[(f64, f64)]]) -> Result<String, ReportError> {
    draw(axes.title, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(20)
            .x_label_area_size(40)
            .y_label_area_size(48)
            .build_cartesian_2d(0.0..axes.largest, 0.0..1.0)?;
        chart
            .configure_mesh()
            .x_labels(6)
            .y_labels(6)
            .x_desc(axes.x)
            .y_desc(axes.y)
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", 13).into_font().color(&INK))
            .axis_desc_style(("sans-serif", 13).into_font().color(&INK))
            .x_label_formatter(&|value| format!("{value:.2}"))
            .y_label_formatter(&|value| format!("{value:.1}"))
            .draw()?;
        // The model comes last, on top.
        for (points, colour) in points.iter().zip([FIRST, SECOND]).rev() {
            chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
        }
        Ok(())
    })
}

/// Draws what each threshold lets pass of what is anomalous, and rejects of what is good.
pub(super) fn operating_points(x: &'static str, points: &OperatingPoints) -> Result<String, ReportError> {
    let largest = points.escapes.last().map_or(1.0, |last| last.0).max(1e-6);
    let axes = Axes { title: "operating points", x, y: "share of the pictures", largest };
    curves(axes, &[&points.escapes, &points.false_rejects])
}

/// Draws how values of both kinds are distributed. Shares below `floor` are not seen on a logarithmic axis.
pub(super) fn distribution(
    title: &'static str,
    x: &'static str,
    values: &Distribution,
    logarithmic: bool,
) -> Result<String, ReportError> {
    const FLOOR: f64 = 1e-5;
    let height = |share: f64| match logarithmic {
        true => (share.max(FLOOR).log10() - FLOOR.log10()) / -FLOOR.log10(),
        false => share,
    };
    let tallest = values.normal.iter().chain(&values.anomalous).map(|&share| height(share)).fold(0.0, f64::max);
    let top = if logarithmic { 1.0 } else { (tallest * 1.08).max(0.05) };
    let (least, largest) = (f64::from(values.least), f64::from(values.largest).max(f64::from(values.least) + 1e-6));
    draw(title, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(20)
            .x_label_area_size(40)
            .y_label_area_size(48)
            .build_cartesian_2d(least..largest, 0.0..top)?;
        let label = |value: &f64| match logarithmic {
            true => format!("{:.0e}", 10f64.powf((value - 1.0) * -FLOOR.log10())),
            false => format!("{:.0}%", value * 100.0),
        };
        chart
            .configure_mesh()
            .x_labels(6)
            .y_labels(6)
            .x_desc(x)
            .y_desc(if logarithmic { "share (log)" } else { "share" })
            .disable_x_mesh()
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", 13).into_font().color(&INK))
            .axis_desc_style(("sans-serif", 13).into_font().color(&INK))
            .x_label_formatter(&|value| format!("{value:.2}"))
            .y_label_formatter(&label)
            .draw()?;
        let width = (largest - least) / values.normal.len().max(1) as f64;
        for (shares, colour) in [(&values.normal, SECOND), (&values.anomalous, FIRST)] {
            let corners = shares.iter().enumerate().flat_map(|(bar, &share)| {
                let (left, height) = (least + bar as f64 * width, height(share));
                [(left, height), (left + width, height)]
            });
            let area = AreaSeries::new(corners, 0.0, colour.mix(0.25)).border_style(colour.stroke_width(2));
            chart.draw_series(area)?;
        }
        Ok(())
    })
}

/// Runs `body` on a fresh plot and returns its SVG element.
fn draw(
    title: &'static str,
    body: impl FnOnce(&Area<'_>) -> Result<(), Box<dyn std::error::Error>>,
) -> Result<String, ReportError> {
    let mut svg = String::new();
    let failed = |reason: String| ReportError::Plot { plot: title, reason };
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        body(&area).map_err(|error| failed(error.to_string()))?;
        area.present().map_err(|error| failed(error.to_string()))?;
    }
    Ok(svg)
}

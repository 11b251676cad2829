//! The page: figures first, then why, then pictures. Every name is escaped; nothing is loaded from elsewhere.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::examples::{Example, Sort};
use super::{ReportError, plot, sizes};
use crate::eval::Evaluation;
use crate::eval::baseline::Baseline;
use crate::eval::curves::{Curves, OperatingPoints};
use crate::eval::figures::{ClassFigures, Figures, MethodFigures};
use crate::eval::tally::Outcome;
use crate::eval::tune::Tuned;

/// Stands in the head of every page.
pub(super) const GENERATOR: &str = "vcp-line eval";
const STYLE: &str = include_str!("page.css");

/// What was evaluated, for the head of the page.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Name of the model.
    pub model: String,
    /// The first digits of its hash.
    pub sha256: String,
    /// Engine and precision.
    pub engine: String,
    /// The data set's root.
    pub data: String,
    /// Layout and split.
    pub layout: String,
    /// When.
    pub date: String,
    /// How the baseline was tuned, if it was.
    pub tuned: Option<Tuned>,
    /// What the baseline is, if there is one.
    pub baseline: Option<Baseline>,
}

/// The whole page.
pub(super) fn render(
    subject: &Subject,
    evaluation: &Evaluation,
    examples: &[Vec<Example>],
) -> Result<String, ReportError> {
    let methods: Vec<&MethodFigures> = evaluation.methods.iter().map(|method| &method.figures).collect();
    let Some(model) = methods.first() else { return Ok(String::new()) };
    let pooled: Vec<&Curves> = evaluation.methods.iter().map(|method| &method.pooled).collect();
    let operating = pooled.first().map(|pooled| operating_points(pooled)).transpose()?;
    let pooled = curves(&pooled)?;
    let classes = (0..model.classes.len()).map(|class| {
        class_section(class, &evaluation.methods, examples.get(class).map(Vec::as_slice).unwrap_or_default())
    });
    let classes = classes.collect::<Result<Vec<_>, _>>()?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content=(GENERATOR);
                meta name="color-scheme" content="light dark";
                title { (subject.model) " on " (subject.data) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p.over { "Evaluation" }
                    h1 { (subject.model) }
                    p.facts {
                        span { (subject.data) } span { (subject.layout) } span { (subject.engine) } span { "sha256 " (subject.sha256) "…" }
                        span { (evaluation.looked_at) " pictures" } span { (subject.date) }
                    }
                    (cards(&methods))
                    (legend(&methods, subject))
                    nav { @for (i, class) in model.classes.iter().enumerate() { a href={ "#class-" (i) } { (class.class) } } }
                }
                main {
                    section {
                        h2 { "As published" }
                        p { "Percent. Values of each class are brought to 0 … 1 over its own pictures before measuring, as in the \
                             paper: comparable with published tables, and not possible on a line." }
                        @for method in &methods { (published(method, methods.len() > 1)) }
                    }
                    section {
                        h2 { "One threshold for all classes" }
                        p { "Raw values, as a line sees them. Within a class the ranking figures are the same as above; own best \
                             thresholds are in the model's unit, for a recipe. " b { "Shared" } " is what each class gets from the one \
                             threshold that is best for all classes together: where it falls short of the class's own best, a \
                             product needs a recipe of its own." }
                        @for method in &methods { (raw(method, methods.len() > 1)) }
                    }
                    (sizes::section(&methods, percent))
                    section {
                        h2 { "Curves over all classes" }
                        p { "All pixels of all classes in one ranking, raw values." }
                        (pooled)
                        @if let Some(operating) = &operating { (operating) }
                    }
                    @for class in &classes { (class) }
                    (warnings(evaluation))
                    (left_out(evaluation))
                }
                footer { "Written by " (GENERATOR) ". Definitions: those of the released VCP-CLIP evaluation." }
            }
        }
    };
    Ok(page.into_string())
}

/// Name of a figure, and how to read it.
type Card = (&'static str, fn(&Figures) -> f64);

/// The mean figures, large; the baseline's below.
fn cards(methods: &[&MethodFigures]) -> Markup {
    let figures: [Card; 7] = [
        ("pixel AUROC", |f| f.pixel.auroc),
        ("AUPRO", |f| f.pixel.aupro),
        ("pixel AP", |f| f.pixel.ap),
        ("pixel F1-max", |f| f.pixel.f1),
        ("image AUROC", |f| f.image.auroc),
        ("image AP", |f| f.image.ap),
        ("image F1-max", |f| f.image.f1),
    ];
    html! {
        div.cards {
            @for (name, figure) in figures {
                div.card {
                    div.name { (name) }
                    @for (i, method) in methods.iter().enumerate() {
                        div class=(if i == 0 { "large" } else { "small" }) {
                            @if i > 0 { (method.method) " " }
                            (percent(figure(&method.mean.normalised)))
                        }
                    }
                }
            }
        }
    }
}

fn legend(methods: &[&MethodFigures], subject: &Subject) -> Markup {
    html! {
        @if methods.len() > 1 {
            p.legend {
                span.key.first {} " model" span.key.second {} " baseline: local contrast"
                @if let Some(baseline) = subject.baseline { ", window " (baseline.window) " px, σ " (baseline.sigma) " px" }
                @if let Some(tuned) = &subject.tuned {
                    ", tuned on " (tuned.classes.join(", ")) " (AUPRO " (percent(tuned.aupro)) " there)"
                }
            }
        }
    }
}

fn caption(method: &MethodFigures, several: bool) -> Markup {
    html! { @if several { caption { (method.method) } } }
}

/// The paper's columns.
fn published(method: &MethodFigures, several: bool) -> Markup {
    let row = |class: &ClassFigures| {
        let Figures { pixel, image } = &class.normalised;
        html! {
            th scope="row" { (class.class) }
            td { (class.good) } td { (class.anomalous) }
            @for value in [pixel.auroc, pixel.aupro, pixel.ap, pixel.f1, pixel.iou] { td { (percent(value)) } }
            td { (threshold(pixel.threshold)) }
            @for value in [image.auroc, image.ap, image.f1] { td { (percent(value)) } }
        }
    };
    html! {
        div.scroll { table {
            (caption(method, several))
            thead {
                tr { th rowspan="2" { "class" } th colspan="2" { "pictures" } th.group colspan="6" { "pixels" } th.group colspan="3" { "pictures" } }
                tr { @for name in ["good", "anom.", "AUROC", "AUPRO", "AP", "F1-max", "IoU", "thr.", "AUROC", "AP", "F1-max"] { th { (name) } } }
            }
            tbody { @for class in &method.classes { tr { (row(class)) } } }
            tfoot { tr { (row(&method.mean)) } }
        } }
    }
}

/// Raw values: own thresholds, and what one threshold for all gives.
fn raw(method: &MethodFigures, several: bool) -> Markup {
    let row = |class: &ClassFigures| {
        let Figures { pixel, image } = &class.raw;
        html! {
            th scope="row" { (class.class) }
            td { (threshold(pixel.threshold)) } td { (percent(pixel.f1)) } td.strong { (percent(class.shared.pixel_f1)) }
            td { (percent(pixel.iou)) } td.strong { (percent(class.shared.pixel_iou)) }
            td { (threshold(image.threshold)) } td { (percent(image.f1)) } td.strong { (percent(class.shared.image_f1)) }
        }
    };
    let Figures { pixel, image } = &method.pooled;
    html! {
        div.scroll { table {
            (caption(method, several))
            thead {
                tr { th rowspan="2" { "class" } th.group colspan="5" { "pixels" } th.group colspan="3" { "pictures" } }
                tr { @for name in ["own thr.", "F1-max", "F1 shared", "IoU own", "IoU shared", "own thr.", "F1-max", "F1 shared"] { th { (name) } } }
            }
            tbody { @for class in &method.classes { tr { (row(class)) } } }
            tfoot { tr { (row(&method.mean)) } }
        } }
        p.pool {
            b { "All pixels together: " } "AUROC " (percent(pixel.auroc)) ", AUPRO " (percent(pixel.aupro)) ", AP " (percent(pixel.ap))
            ", F1-max " (percent(pixel.f1)) " from " (threshold(pixel.threshold)) ". "
            b { "All pictures: " } "AUROC " (percent(image.auroc)) ", AP " (percent(image.ap)) ", F1-max " (percent(image.f1))
            " from " (threshold(image.threshold)) "."
        }
    }
}

fn curves(of: &[&Curves]) -> Result<Markup, ReportError> {
    let points = |pick: fn(&Curves) -> &[(f64, f64)]| of.iter().map(|curves| pick(curves)).collect::<Vec<_>>();
    let roc = plot::curves(plot::ROC, &points(|curves| &curves.roc))?;
    let precision_recall = plot::curves(plot::PRECISION_RECALL, &points(|curves| &curves.precision_recall))?;
    let overlap = plot::curves(plot::OVERLAP, &points(|curves| &curves.overlap))?;
    Ok(html! {
        div.plots {
            @for (title, svg) in [("ROC", roc), ("Precision–recall", precision_recall), ("PRO", overlap)] {
                figure { figcaption { (title) } (PreEscaped(svg)) }
            }
        }
    })
}

/// What each threshold would let pass and reject of these pictures; nothing where one kind of them is absent.
fn operating_points(curves: &Curves) -> Result<Markup, ReportError> {
    let kinds = [
        ("threshold, of the image score", "image score, raw", &curves.by_score),
        ("defect_threshold, of the map, min_area_px = 1", "largest value of the map, raw", &curves.by_peak),
    ];
    let drawn = |(title, x, points): (&'static str, &'static str, &OperatingPoints)| {
        Ok::<_, ReportError>((title, plot::operating_points(x, points)?))
    };
    if curves.by_score.escapes.is_empty() {
        return Ok(html! {});
    }
    let plots = kinds.into_iter().map(drawn).collect::<Result<Vec<_>, _>>()?;
    Ok(html! {
        div.plots.two {
            @for (title, svg) in plots {
                figure { figcaption { (title) ": " span.key.first {} " escapes " span.key.second {} " false rejects" } (PreEscaped(svg)) }
            }
        }
    })
}

fn class_section(class: usize, methods: &[Outcome], examples: &[Example]) -> Result<Markup, ReportError> {
    let Some(model) = methods.first() else { return Ok(html! {}) };
    let figures = &model.figures.classes[class];
    let own: Vec<&Curves> = methods.iter().map(|method| &method.curves[class]).collect();
    let curves = curves(&own)?;
    let operating = operating_points(own[0])?;
    let pixels = plot::distribution("pixels", "map value, raw", &own[0].pixels, true)?;
    let scores = plot::distribution("scores", "image score, raw", &own[0].scores, false)?;
    let of_sort = |sort: Sort| examples.iter().filter(|example| example.sort == sort).collect::<Vec<_>>();
    Ok(html! {
        section.class id={ "class-" (class) } {
            h2 { (figures.class) }
            p.facts {
                span { (figures.good) " good" } span { (figures.anomalous) " anomalous" }
                span { "AUROC " (percent(figures.normalised.pixel.auroc)) } span { "AUPRO " (percent(figures.normalised.pixel.aupro)) }
                span { "AP " (percent(figures.normalised.pixel.ap)) } span { "image AUROC " (percent(figures.normalised.image.auroc)) }
            }
            @if !examples.is_empty() {
                p.legend {
                    "On the pictures: " span.key.truth {} " turquoise line: the true defect. White line with a black one around it: \
                     where the map reaches the threshold. Colours from yellow over red to purple: the map, low to high."
                }
            }
            @for (title, sort) in [
                ("Found best", Sort::Best), ("Found worst", Sort::Worst), ("Good, and most suspicious", Sort::Alarm),
            ] {
                @let chosen = of_sort(sort);
                @if !chosen.is_empty() {
                    h3 { (title) }
                    div.examples { @for example in chosen { (example_card(example)) } }
                }
            }
            (curves)
            (operating)
            div.plots.two {
                figure { figcaption { "Map values: " span.key.second {} " normal " span.key.first {} " anomalous" } (PreEscaped(pixels)) }
                figure { figcaption { "Image scores: " span.key.second {} " good " span.key.first {} " anomalous" } (PreEscaped(scores)) }
            }
        }
    })
}

fn example_card(example: &Example) -> Markup {
    html! {
        div.example {
            p.facts {
                span { (example.name) }
                @if let Some(kind) = &example.kind { span { (kind) } }
                @if let Some(ap) = example.ap { span { "AP " (percent(ap)) } }
                span { "score " (format!("{:.3}", example.score)) }
            }
            div.panels {
                @for (caption, path) in &example.panels {
                    figure { img src=(path) alt={ (caption) " of " (example.name) } loading="lazy"; figcaption { (caption) } }
                }
            }
        }
    }
}

fn warnings(evaluation: &Evaluation) -> Markup {
    html! {
        @if !evaluation.warnings.is_empty() {
            section {
                h2 { "Of the data set" }
                ul { @for warning in &evaluation.warnings { li { (warning) } } }
            }
        }
    }
}

fn left_out(evaluation: &Evaluation) -> Markup {
    html! {
        @if !evaluation.left_out.is_empty() {
            section {
                h2 { "Left out" }
                p { (evaluation.left_out.len()) " of " (evaluation.looked_at + evaluation.left_out.len())
                    " pictures could not be read and count nowhere." }
                ul { @for missing in &evaluation.left_out { li { (missing.reason) } } }
            }
        }
    }
}

fn percent(value: f64) -> String {
    if value.is_finite() { format!("{:.2}", value * 100.0) } else { "–".to_owned() }
}

fn threshold(value: f32) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "–".to_owned() }
}

//! The report's section about the size of defects.

use maud::{Markup, html};

use crate::eval::figures::MethodFigures;
use crate::eval::sizes::{BySize, SizeFigures};

/// A table for each method; nothing when no defect has a mask.
pub(super) fn section(methods: &[&MethodFigures], percent: impl Fn(f64) -> String + Copy) -> Markup {
    let any = methods.iter().any(|method| !method.by_size.all.is_empty());
    let failing = methods.first().map_or(0.0, |method| method.by_size.settings.good_failing);
    html! {
        @if any {
            section {
                h2 { "By size of the defect" }
                p { "Percent. Size is the diameter of the circle with as many pixels of the captured picture as the defect's mask. \
                     Parts fail above the score that at most " (percent(failing)) " % of the class's good pictures exceed, and the \
                     map marks a defect above the value that as many of them exceed anywhere. " b { "Recall" } " counts parts by \
                     their largest defect, " b { "on the map" } " and AUPRO count every defect." }
                @for method in methods {
                    (table(&method.method, &method.by_size, methods.len() > 1, percent))
                }
            }
        }
    }
}

fn table(method: &str, by_size: &BySize, several: bool, percent: impl Fn(f64) -> String + Copy) -> Markup {
    let row = |class: &str, bin: &SizeFigures| {
        html! {
            tr {
                th scope="row" { (class) } td { (bin.name()) }
                td { (bin.parts) } td.strong { (percent(bin.recall)) }
                td { (bin.defects) } td.strong { (percent(bin.recall_on_map)) } td { (percent(bin.aupro)) }
            }
        }
    };
    html! {
        div.scroll { table {
            @if several { caption { (method) } }
            thead {
                tr { @for name in ["class", "size, px", "parts", "recall", "defects", "on the map", "AUPRO"] { th { (name) } } }
            }
            tbody { @for class in &by_size.classes { @for bin in &class.bins { (row(&class.class, bin)) } } }
            tfoot { @for bin in &by_size.all { (row("all", bin)) } }
        } }
    }
}

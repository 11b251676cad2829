//! The statistics of the parts as a picture: good and defective ones, and where the thresholds lie.

use std::fmt::Write;

/// What is drawn.
pub struct Histogram<'a> {
    /// Above the picture.
    pub title: &'a str,
    /// Below the axis.
    pub axis: &'a str,
    /// Statistics of good parts; what is not finite is counted at the left end.
    pub good: &'a [f32],
    /// Those of defective ones.
    pub bad: &'a [f32],
    /// The threshold as it is, where there is one.
    pub before: Option<f32>,
    /// The threshold of the next version.
    pub after: f32,
}

const BINS: usize = 60;
/// Of the picture, and of the plot in it: left, top, right, bottom.
const SIZE: [f64; 2] = [720.0, 380.0];
const PLOT: [f64; 4] = [56.0, 48.0, 700.0, 320.0];
const GOOD: &str = "#3b7dd8";
const BAD: &str = "#c8322b";
const OLD: &str = "#888888";
const NEW: &str = "#111111";

/// The picture as SVG, a document of its own.
pub fn svg(histogram: &Histogram<'_>) -> String {
    let [width, height] = SIZE;
    let [left, top, right, bottom] = PLOT;
    let (low, high) = range(histogram);
    let x = |value: f32| left + f64::from((value.max(low) - low) / (high - low)) * (right - left);
    let [good, bad] = [histogram.good, histogram.bad].map(|values| bins(values, low, high));
    let most = good.iter().chain(&bad).copied().max().unwrap_or(0).max(1);
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" \
         height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>{}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"{left}\" y=\"20\" font-size=\"15\">{}</text>\n",
        escaped(histogram.title),
        escaped(histogram.title)
    );
    let bar = (right - left) / BINS as f64;
    for (counts, colour) in [(&good, GOOD), (&bad, BAD)] {
        for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let tall = (bottom - top) * *count as f64 / most as f64;
            line(
                &mut text,
                format_args!(
                    "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{bar:.1}\" height=\"{tall:.1}\" fill=\"{colour}\" \
                 fill-opacity=\"0.6\"/>",
                    left + bin as f64 * bar,
                    bottom - tall
                ),
            );
        }
    }
    line(&mut text, format_args!("<path d=\"M{left} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"#000000\"/>"));
    for step in 0..=4u8 {
        let value = low + (high - low) * f32::from(step) / 4.0;
        let at = x(value);
        line(&mut text, format_args!("<path d=\"M{at:.1} {bottom}v5\" stroke=\"#000000\"/>"));
        let below = bottom + 20.0;
        line(&mut text, format_args!("<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{value:.3}</text>"));
    }
    line(&mut text, format_args!("<text x=\"{}\" y=\"{top}\" text-anchor=\"end\">{most}</text>", left - 6.0));
    line(&mut text, format_args!("<text x=\"{}\" y=\"{bottom}\" text-anchor=\"end\">0</text>", left - 6.0));
    let middle = 0.5 * (left + right);
    let (below, axis) = (bottom + 42.0, escaped(histogram.axis));
    line(&mut text, format_args!("<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{axis}</text>"));
    let thresholds = [(histogram.before, "before", OLD, "6 4"), (Some(histogram.after), "after", NEW, "none")];
    for (row, (threshold, name, colour, dashes)) in thresholds.into_iter().enumerate() {
        let Some(threshold) = threshold else { continue };
        let (at, label) = (x(threshold), top + 14.0 * row as f64 + 10.0);
        line(
            &mut text,
            format_args!(
                "<path d=\"M{at:.1} {top}V{bottom}\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>"
            ),
        );
        // On the side that has room.
        let (anchor, away) = if at > middle { ("end", -5.0) } else { ("start", 5.0) };
        line(
            &mut text,
            format_args!(
                "<text x=\"{:.1}\" y=\"{label}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{name} {threshold}</text>",
                at + away
            ),
        );
    }
    let names = [("good", GOOD, histogram.good.len()), ("defective", BAD, histogram.bad.len())];
    for (at, (name, colour, count)) in names.into_iter().filter(|(_, _, count)| *count > 0).enumerate() {
        let from = right - 110.0 - 130.0 * at as f64;
        line(&mut text, format_args!("<rect x=\"{from}\" y=\"28\" width=\"10\" height=\"10\" fill=\"{colour}\"/>"));
        line(&mut text, format_args!("<text x=\"{}\" y=\"38\">{count} {name}</text>", from + 15.0));
    }
    text + "</svg>\n"
}

fn line(text: &mut String, new: std::fmt::Arguments<'_>) {
    // Writing into a text does not fail.
    text.write_fmt(new).ok();
    text.push('\n');
}

/// From the least to the largest of all that is drawn, with some air; never empty.
fn range(histogram: &Histogram<'_>) -> (f32, f32) {
    let thresholds = histogram.before.into_iter().chain([histogram.after]);
    let values =
        histogram.good.iter().chain(histogram.bad).copied().chain(thresholds).filter(|value| value.is_finite());
    let (low, high) =
        values.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return (0.0, 1.0);
    }
    let air = (0.03 * (high - low)).max(1e-3);
    (low - air, high + air)
}

fn bins(values: &[f32], low: f32, high: f32) -> Vec<usize> {
    let mut counts = vec![0; BINS];
    for value in values {
        let share = if value.is_finite() { (value - low) / (high - low) } else { 0.0 };
        counts[((share * BINS as f32) as usize).min(BINS - 1)] += 1;
    }
    counts
}

fn escaped(text: &str) -> String {
    let allowed = |letter: &char| !letter.is_control();
    let letters = text.chars().filter(allowed);
    letters.fold(String::new(), |mut all, letter| {
        match letter {
            '&' => all.push_str("&amp;"),
            '<' => all.push_str("&lt;"),
            '>' => all.push_str("&gt;"),
            '"' => all.push_str("&quot;"),
            letter => all.push(letter),
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_and_thresholds_are_drawn() {
        let good: Vec<f32> = (0..50).map(|i| 0.1 + i as f32 * 0.002).collect();
        let all = Histogram {
            title: "caps <3> & \"top\"\u{7}",
            axis: "defect statistic",
            good: &good,
            bad: &[0.7, f32::NEG_INFINITY],
            before: Some(0.5),
            after: 0.21,
        };
        let text = svg(&all);
        assert!(text.contains("<title>caps &lt;3&gt; &amp; &quot;top&quot;</title>"));
        assert!(text.contains(">before 0.5</text>") && text.contains(">after 0.21</text>"));
        assert!(text.contains(">50 good</text>") && text.contains(">2 defective</text>"));
        assert!(!text.contains("NaN") && !text.contains("inf"));
        // Every element is closed, in its order.
        let mut open = Vec::new();
        for tag in text.split('<').skip(2).filter_map(|rest| rest.split('>').next()) {
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name.to_owned())),
                None if tag.ends_with('/') => {}
                None => open.push(tag.split(' ').next().unwrap_or_default().to_owned()),
            }
        }
        assert_eq!(open, Vec::<String>::new());
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let none = Histogram { title: "", axis: "", good: &[], bad: &[], before: None, after: f32::NAN };
        assert!(svg(&none).ends_with("</svg>\n"));
        assert_eq!(bins(&[0.0, 1.0], 0.0, 1.0)[BINS - 1], 1);
    }
}

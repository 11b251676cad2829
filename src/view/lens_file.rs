//! Camera matrix and distortion as calibration programs write them: OpenCV's YAML and JSON, ROS's `camera_info`.

use std::path::{Path, PathBuf};

use super::lens::Lens;

/// A calibration is a page of numbers.
const MOST_BYTES: u64 = 1 << 20;

/// A file holds no lens.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct LensFileError {
    path: PathBuf,
    reason: String,
}

/// Names under which programs write the two.
const MATRIX: &[&str] = &["camera_matrix", "cameramatrix", "intrinsic_matrix", "k"];
const DISTORTION: &[&str] =
    &["distortion_coefficients", "distortion_coeffs", "distcoeffs", "dist_coeffs", "dist_coeff", "d"];

impl Lens {
    /// Reads what OpenCV's `FileStorage` (YAML or JSON, as the calibration sample writes it) or ROS's `camera_calibration` wrote:
    /// the 3x3 camera matrix and 4, 5, 8 or 12 coefficients.
    pub fn read(path: &Path) -> Result<Self, LensFileError> {
        let error = |reason: String| LensFileError { path: path.to_owned(), reason };
        let size = std::fs::metadata(path).map_err(|source| error(source.to_string()))?.len();
        if size > MOST_BYTES {
            return Err(error(format!("{size} bytes are no camera calibration; at most {MOST_BYTES}")));
        }
        let text = std::fs::read_to_string(path).map_err(|source| error(source.to_string()))?;
        Self::parse(&text).map_err(error)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let absent =
            |what: &str| format!("no {what}; write the file with OpenCV (YAML or JSON) or ROS camera_calibration");
        let matrix = numbers(text, MATRIX)?.ok_or_else(|| absent("camera_matrix"))?;
        let distortion = numbers(text, DISTORTION)?.ok_or_else(|| absent("distortion_coefficients"))?;
        let [fx, skew, cx, zero_1, fy, cy, zero_2, zero_3, one] = matrix[..] else {
            return Err(format!("camera_matrix has {} numbers; 9 are needed", matrix.len()));
        };
        let is_camera = [skew, zero_1, zero_2, zero_3] == [0.0; 4] && one == 1.0 && fx > 0.0 && fy > 0.0;
        if !is_camera {
            return Err("camera_matrix is not [fx 0 cx; 0 fy cy; 0 0 1]".into());
        }
        if let Some(model) =
            word(text, "distortion_model").filter(|model| !["plumb_bob", "rational_polynomial"].contains(model))
        {
            return Err(format!("distortion_model {model} is not supported; allowed: plumb_bob, rational_polynomial"));
        }
        // OpenCV's tilted sensor: 14, the last two as good as always 0.
        let given = match &distortion[..] {
            [rest @ .., 0.0, 0.0] if distortion.len() == 14 => rest,
            all => all,
        };
        if ![4, 5, 8, 12].contains(&given.len()) {
            let count = given.len();
            return Err(format!(
                "{count} distortion_coefficients are not supported; 4, 5, 8 or 12 (k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4)"
            ));
        }
        let mut coefficients = [0.0; 12];
        coefficients[..given.len()].copy_from_slice(given);
        let side = |names: [&str; 2]| names.into_iter().find_map(|name| word(text, name)?.parse::<u32>().ok());
        let size = side(["image_width", "image_Width"]).zip(side(["image_height", "image_Height"]));
        let lens =
            Self { focal: [fx, fy], centre: [cx, cy], coefficients, size: size.map(|(width, height)| [width, height]) };
        let finite = lens.focal.iter().chain(&lens.centre).chain(&lens.coefficients).all(|value| value.is_finite());
        if finite { Ok(lens) } else { Err("camera_matrix or distortion_coefficients hold what is no number".into()) }
    }
}

/// What follows `name` and its colon, whatever the quotes: `"name": rest` or `name: rest`, where a line or an object begins.
fn after<'a>(text: &'a str, names: &[&str]) -> Option<&'a str> {
    text.match_indices(':').find_map(|(colon, _)| {
        let name = text[..colon].trim_end().trim_end_matches('"');
        let start = name.rfind(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(0, |at| at + 1);
        let name = &name[start..];
        names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)).then(|| &text[colon + 1..])
    })
}

fn word<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let rest = after(text, &[name])?;
    rest.split(|c: char| c.is_whitespace() || c == ',' || c == '"').find(|word| !word.is_empty())
}

/// The numbers of the first list behind a name: directly, or as `data` of a matrix; nested lists are one after the other.
fn numbers(text: &str, names: &[&str]) -> Result<Option<Vec<f64>>, String> {
    let Some(rest) = after(text, names) else { return Ok(None) };
    let Some(open) = rest.find('[') else { return Ok(None) };
    let mut depth = 0;
    let inside = |c: &char| {
        depth += i32::from(*c == '[') - i32::from(*c == ']');
        depth > 0
    };
    let list: String = rest[open..].chars().take_while(inside).collect();
    let words = list.split(|c: char| c.is_whitespace() || "[],".contains(c)).filter(|word| !word.is_empty());
    // OpenCV writes "1." and ".Nan".
    let number = |word: &str| word.parse::<f64>().map_err(|_| format!("'{word}' is no number"));
    words.map(number).collect::<Result<Vec<_>, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENCV: &str = "%YAML:1.0\n---\ncalibration_time: \"Sat Nov 28 12:00:00 2026\"\nimage_width: 640\nimage_height: 480\n\
        camera_matrix: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n   data: [ 6.5e+02, 0., 3.2e+02, 0., 6.51e+02,\n       \
        2.4e+02, 0., 0., 1. ]\ndistortion_coefficients: !!opencv-matrix\n   rows: 5\n   cols: 1\n   dt: d\n   data: [ -2.5e-01, \
        1.1e-01, 1e-03,\n       -2e-03, 3e-02 ]\n";

    #[test]
    fn opencv_and_ros_are_read() {
        let lens = Lens::parse(OPENCV).expect("OpenCV");
        assert_eq!((lens.focal, lens.centre, lens.size), ([650.0, 651.0], [320.0, 240.0], Some([640, 480])));
        assert_eq!(lens.coefficients[..6], [-0.25, 0.11, 1e-3, -2e-3, 0.03, 0.0]);
        let json = r#"{ "image_width": 640, "image_height": 480, "camera_matrix": { "type_id": "opencv-matrix", "rows": 3,
            "cols": 3, "dt": "d", "data": [ 650.0, 0.0, 320.0, 0.0, 651.0, 240.0, 0.0, 0.0, 1.0 ] },
            "distortion_coefficients": { "type_id": "opencv-matrix", "rows": 1, "cols": 5, "dt": "d",
            "data": [ -0.25, 0.11, 0.001, -0.002, 0.03 ] } }"#;
        assert_eq!(Lens::parse(json).expect("JSON"), lens);
        let ros = "image_width: 640\nimage_height: 480\ncamera_name: cap\ncamera_matrix:\n  rows: 3\n  cols: 3\n  data: [650.0, 0.0, \
            320.0, 0.0, 651.0, 240.0, 0.0, 0.0, 1.0]\ndistortion_model: plumb_bob\ndistortion_coefficients:\n  rows: 1\n  cols: 5\n  \
            data: [-0.25, 0.11, 0.001, -0.002, 0.03]\n";
        assert_eq!(Lens::parse(ros).expect("ROS"), lens);
        let nested = "K: [[650, 0, 320], [0, 651, 240], [0, 0, 1]]\nD: [-0.25, 0.11, 0.001, -0.002, 0.03]\n";
        assert_eq!(Lens::parse(nested).expect("lists"), Lens { size: None, ..lens });
    }

    #[test]
    fn what_is_no_lens_is_named() {
        let said = |text: &str| Lens::parse(text).expect_err("refused");
        assert!(said("a: 1").starts_with("no camera_matrix; write the file with OpenCV"));
        assert!(said(&OPENCV.replace("[ 6.5e+02, 0.,", "[ 6.5e+02, 2.,")).contains("is not [fx 0 cx; 0 fy cy; 0 0 1]"));
        assert!(said(&OPENCV.replace("-2e-03, 3e-02", "-2e-03, 3e-02, 1")).starts_with("6 distortion_coefficients"));
        assert!(said(&OPENCV.replace("1.1e-01", ".Nan")).contains("'.Nan' is no number"));
        assert!(said(&format!("{OPENCV}distortion_model: equidistant\n")).contains("distortion_model equidistant"));
    }
}

//! Data sets as their makers and as users arrange them: every picture is used with its right label, or said to be left out.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use image::{GrayImage, Luma};
use serde_json::json;
use vcp_line::dataset::{Dataset, Layout, Split};

/// A grey picture, or a mask with one white pixel when its name or folder says that it is one.
fn place(root: &Path, file: impl AsRef<OsStr>, level: u8) {
    let path = root.join(file.as_ref());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let picture = GrayImage::from_fn(4, 3, |x, _| Luma([if x == 0 { level } else { 0 }]));
    let ending = path.extension().unwrap().to_str().unwrap().to_ascii_lowercase();
    let format = image::ImageFormat::from_extension(ending).unwrap();
    picture.save_with_format(&path, format).unwrap();
}

fn tree(files: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    files.iter().for_each(|file| place(root.path(), file, 255));
    root
}

/// Per class its name, and good, defective, with mask, left out.
fn counts(dataset: &Dataset) -> Vec<(&str, [usize; 4])> {
    let class = |class: &'_ vcp_line::dataset::ClassItems| {
        [class.good(), class.defective(), class.with_mask(), class.left_out()]
    };
    dataset.classes.iter().map(|c| (c.name.as_str(), class(c))).collect()
}

/// Opens with the layout and with auto, which must find it and give the same.
fn open(root: &Path, layout: Layout, split: Split) -> Dataset {
    let found = Dataset::open(root, Layout::Auto, split).unwrap();
    assert_eq!(found.layout, layout, "{:?}", found.lines());
    let given = Dataset::open(root, layout, split).unwrap();
    assert_eq!(found, given);
    given
}

#[test]
fn good_and_bad_in_every_word_and_case() {
    for (good, bad) in [
        ("good", "bad"),
        ("ok", "ko"),
        ("OK", "NG"),
        ("Good", "Defect"),
        ("normal", "abnormal"),
        ("Normal", "Anomaly"),
        ("i.O.", "n.i.O."),
        ("pass", "fail"),
        ("defect_free", "defective"),
        ("ok_parts", "not_ok"),
    ] {
        let files = |prefix: &str| {
            [
                format!("{prefix}{good}/1.png"),
                format!("{prefix}{good}/2.png"),
                format!("{prefix}{bad}/3.png"),
                format!("cap/ground_truth/{bad}/3.png"),
            ]
        };
        for (prefix, layout) in [("cap/test/", Layout::Mvtec), ("cap/", Layout::Folders)] {
            let files = files(prefix);
            let root = tree(&files.each_ref().map(String::as_str));
            let dataset = open(root.path(), layout, Split::Test);
            assert_eq!(counts(&dataset), [("cap", [2, 1, 1, 0])], "{good} and {bad} as {}", layout.name());
            let line = dataset.classes[0].line();
            assert!(line.starts_with("cap: 2 good, 1 defective (1 with mask), 0 left out"), "{line}");
        }
    }
}

#[test]
fn capitals_in_names_and_endings() {
    let root = tree(&[
        "Cap/Test/Good/000.PNG",
        "Cap/Test/Scratch/000.PNG",
        "Cap/Test/Scratch/001.Jpg",
        "Cap/Ground_Truth/scratch/000_MASK.PNG",
        "Cap/Ground_Truth/scratch/001_mask.Bmp",
    ]);
    let dataset = open(root.path(), Layout::Mvtec, Split::Test);
    assert_eq!(counts(&dataset), [("Cap", [1, 2, 2, 0])]);
    // Names that differ in their case alone are different pictures.
    let root =
        tree(&["cap/test/cut/a.png", "cap/test/cut/A.png", "cap/ground_truth/cut/a.png", "cap/ground_truth/cut/A.png"]);
    let dataset = open(root.path(), Layout::Mvtec, Split::Test);
    for item in &dataset.classes[0].items {
        assert_eq!(item.masks[0].file_name(), item.image.file_name());
    }
}

#[test]
fn several_masks_of_one_picture_are_one() {
    let root = tree(&[
        "box/train/good/000.png",
        "box/validation/good/000.png",
        "box/test/good/000.png",
        "box/test/logical_anomalies/000.png",
        "box/test/structural_anomalies/000.png",
        "box/test/structural_anomalies/001.png",
        "box/ground_truth/logical_anomalies/000/000.png",
        "box/ground_truth/logical_anomalies/000/001.png",
        "box/ground_truth/structural_anomalies/000/000.png",
        "box/ground_truth/structural_anomalies/001_mask_0.png",
        "box/ground_truth/structural_anomalies/001_mask_1.png",
    ]);
    let other = root.path().join("box/ground_truth/logical_anomalies/000/001.png");
    GrayImage::from_fn(4, 3, |x, _| Luma([if x == 3 { 254 } else { 0 }])).save(other).unwrap();
    let dataset = open(root.path(), Layout::Mvtec, Split::Test);
    assert_eq!(counts(&dataset), [("box", [1, 3, 3, 0])]);
    let item = dataset.classes[0].items.iter().find(|item| item.image.ends_with("logical_anomalies/000.png")).unwrap();
    assert_eq!(item.masks.len(), 2);
    let mask = item.load().unwrap().1.unwrap();
    assert_eq!(mask.anomalous[..4], [true, false, false, true]);
    // One kind alone, with nothing but folders for pictures.
    let root = tree(&["box/test/bad/000.png", "box/test/good/000.png", "box/ground_truth/bad/000/000.png"]);
    assert_eq!(counts(&open(root.path(), Layout::Mvtec, Split::Test)), [("box", [1, 1, 1, 0])]);
}

#[test]
fn labels_without_masks_count() {
    for files in [["caps/test/good/1.png", "caps/test/scratch/2.png"], ["caps/good/1.png", "caps/defect/2.png"]] {
        let root = tree(&files);
        let dataset = Dataset::open(root.path(), Layout::Auto, Split::Test).unwrap();
        assert_eq!(counts(&dataset), [("caps", [1, 1, 0, 0])]);
        assert_eq!(dataset.check_left_out().map_err(|error| error.to_string()), Ok(()));
    }
}

#[test]
fn mvtec_ad_2() {
    let root = tree(&[
        "can/train/good/000_regular.png",
        "can/validation/good/000_regular.png",
        "can/test_public/good/000_regular.png",
        "can/test_public/bad/000_regular.png",
        "can/test_public/bad/001_overexposed.png",
        "can/test_public/ground_truth/bad/000_regular_mask.png",
        "can/test_public/ground_truth/bad/001_overexposed_mask.png",
        "can/test_private/000.png",
    ]);
    assert_eq!(counts(&open(root.path(), Layout::Mvtec, Split::Test)), [("can", [1, 2, 2, 0])]);
    assert_eq!(counts(&open(root.path(), Layout::Mvtec, Split::Train)), [("can", [1, 0, 0, 0])]);
    assert_eq!(counts(&open(&root.path().join("can"), Layout::Mvtec, Split::Test)), [("can", [1, 2, 2, 0])]);
}

#[test]
fn btad_and_mpdd() {
    let root = tree(&[
        "01/train/ok/0000.bmp",
        "01/test/ok/0001.bmp",
        "01/test/ko/0000.bmp",
        "01/ground_truth/ko/0000.png",
        "02/test/ok/0001.png",
        "02/test/ko/0000.png",
        "02/ground_truth/ko/0000.png",
        "03/test/ok/0001.bmp",
        "03/test/ko/0000.bmp",
        "03/ground_truth/ko/0000.bmp",
    ]);
    let expected = ["01", "02", "03"].map(|class| (class, [1, 1, 1, 0]));
    assert_eq!(counts(&open(root.path(), Layout::Mvtec, Split::Test)), expected);
    // The archive has a folder around it.
    let outer = tempfile::tempdir().unwrap();
    fs::rename(root.path(), outer.path().join("BTech_Dataset_transformed")).unwrap();
    assert_eq!(counts(&Dataset::open(outer.path(), Layout::Auto, Split::Test).unwrap()), expected);

    let root = tree(&[
        "bracket_black/test/good/000.png",
        "bracket_black/test/hole/000.png",
        "bracket_black/ground_truth/hole/000_mask.png",
        "tubes/test/anomalous/000.png",
        "tubes/test/good/000.png",
        "tubes/ground_truth/anomalous/000_mask.png",
    ]);
    let dataset = open(root.path(), Layout::Mvtec, Split::Test);
    assert_eq!(counts(&dataset), [("bracket_black", [1, 1, 1, 0]), ("tubes", [1, 1, 1, 0])]);
}

#[test]
fn kolektor_has_masks_beside() {
    let root = tree(&["train/10000.png", "test/20000.png", "test/20001.png", "test/20001_GT.png"]);
    for black in ["train/10000_GT.png", "test/20000_GT.png"] {
        place(root.path(), black, 0);
    }
    let test = open(root.path(), Layout::Beside, Split::Test);
    assert_eq!(counts(&test)[0].1, [1, 1, 1, 0]);
    assert_eq!(counts(&open(root.path(), Layout::Beside, Split::Train))[0].1, [1, 0, 0, 0]);
    // Where good pictures have a black mask, one without is not labelled.
    place(root.path(), "test/20002.png", 9);
    let test = open(root.path(), Layout::Beside, Split::Test);
    assert_eq!(counts(&test)[0].1, [1, 1, 1, 1]);
    let error = test.check_left_out().unwrap_err().to_string();
    assert!(error.contains("1 of 3 pictures are left out") && error.contains("20002.png has no mask"), "{error}");

    let root = tree(&["kos01/Part0.jpg", "kos02/Part0.jpg", "kos02/Part1.jpg", "kos02/Part1_label.bmp"]);
    for black in ["kos01/Part0_label.bmp", "kos02/Part0_label.bmp"] {
        place(root.path(), black, 0);
    }
    assert_eq!(counts(&open(root.path(), Layout::Beside, Split::Test))[0].1, [2, 1, 1, 0]);
}

#[test]
fn dagm_has_masks_of_defects_alone() {
    let root = tree(&[
        "Class1/Train/0576.PNG",
        "Class1/Train/Label/0576_label.PNG",
        "Class1/Test/0001.PNG",
        "Class1/Test/0002.PNG",
        "Class1/Test/Label/0002_label.PNG",
        "Class2/Test/0001.PNG",
        "Class2/Test/0002.PNG",
        "Class2/Test/Label/0001_label.PNG",
    ]);
    fs::write(root.path().join("Class1/Test/Label/Labels.txt"), "0\n").unwrap();
    let test = open(root.path(), Layout::Beside, Split::Test);
    assert_eq!(counts(&test), [("Class1", [1, 1, 1, 0]), ("Class2", [1, 1, 1, 0])]);
}

#[test]
fn visa_as_it_is_unpacked() {
    let root = tree(&[
        "candle/Data/Images/Normal/0000.JPG",
        "candle/Data/Images/Anomaly/000.JPG",
        "candle/Data/Masks/Anomaly/000.png",
    ]);
    assert_eq!(counts(&open(root.path(), Layout::Folders, Split::Test)), [("candle", [1, 1, 1, 0])]);
}

#[test]
fn real_iad() {
    let entry = |class: &str, image: &str, mask: Option<&str>| json!({"category": "audiojack", "anomaly_class": class, "image_path": image, "mask_path": mask});
    let list = json!({
        "meta": {"normal_class": "OK", "prefix": "audiojack/"},
        "train": [entry("OK", "OK/S0001/a.jpg", None)],
        "test": [entry("OK", "OK/S0002/a.jpg", None), entry("AK", "NG/AK/S0001/a.jpg", Some("NG/AK/S0001/a.png"))],
    });
    for (folder, lists) in [("", ""), ("realiad_256", "realiad_jsons/realiad_jsons"), ("realiad_1024", "realiad_jsons")]
    {
        let root = tempfile::tempdir().unwrap();
        for file in ["OK/S0001/a.jpg", "OK/S0002/a.jpg", "NG/AK/S0001/a.jpg", "NG/AK/S0001/a.png"] {
            place(&root.path().join(folder).join("audiojack"), file, 255);
        }
        fs::create_dir_all(root.path().join(lists)).unwrap();
        let file = root.path().join(lists).join("audiojack.json");
        fs::write(&file, list.to_string()).unwrap();
        assert_eq!(counts(&open(root.path(), Layout::RealIad, Split::Test)), [("audiojack", [1, 1, 1, 0])], "{folder}");
        assert_eq!(counts(&open(root.path(), Layout::RealIad, Split::Train)), [("audiojack", [1, 0, 0, 0])]);
        assert_eq!(counts(&open(&file, Layout::RealIad, Split::Test)), [("audiojack", [1, 1, 1, 0])]);
        fs::remove_dir_all(root.path().join(folder).join("audiojack/OK")).unwrap();
        let dataset = Dataset::open(root.path(), Layout::Auto, Split::Test).unwrap();
        assert_eq!(counts(&dataset), [("audiojack", [0, 1, 1, 1])]);
        let error = dataset.check_left_out().unwrap_err().to_string();
        assert!(error.contains("OK/S0002/a.jpg is listed and not there"), "{error}");
    }
}

#[test]
fn what_is_left_out_is_said() {
    let root = tree(&["cap/test/good/1.png", "cap/test/cut/1.png", "cap/test/unlabeled/1.png", "cap/test/2.png"]);
    fs::write(root.path().join("cap/test/cut/3.gif"), "GIF89a").unwrap();
    place(root.path(), "nut/somewhere/1.png", 9);
    let dataset = Dataset::open(root.path(), Layout::Auto, Split::Test).unwrap();
    assert_eq!(counts(&dataset), [("cap", [1, 1, 0, 3])]);
    let line = dataset.classes[0].line();
    for said in ["3 left out", "unlabeled does not say", "test/2.png lies beside", "3.gif is no PNG"] {
        assert!(line.contains(said), "{said}: {line}");
    }
    assert!(dataset.remarks[0].contains("nut: no class"), "{:?}", dataset.remarks);
    let error = dataset.check_left_out().unwrap_err().to_string();
    assert!(
        error.starts_with("3 of 5 pictures are left out, more than a tenth: ") && error.ends_with("by --allow-missing")
    );

    let root = tree(&["cap/good/1.png", "cap/defect/1.png", "cap/scratch/1.png"]);
    let dataset = Dataset::open(root.path(), Layout::Auto, Split::Test).unwrap();
    assert_eq!(counts(&dataset), [("cap", [1, 1, 0, 1])]);
    // Kinds beside the good ones are kinds of defects when there is no other folder for these.
    let root = tree(&["cap/good/1.png", "cap/dent/1.png", "cap/scratch/1.png", "cap/ground_truth/scratch/1_mask.png"]);
    let dataset = open(root.path(), Layout::Folders, Split::Test);
    assert_eq!(counts(&dataset), [("cap", [1, 2, 1, 0])]);
    assert!(dataset.classes[0].line().contains("kinds of defects: dent, scratch"));

    let root = tree(&["cap/good/1.png", "cap/broken/1.png", "cap/scratch/1.png"]);
    assert_eq!(counts(&open(root.path(), Layout::Folders, Split::Test)), [("cap", [1, 2, 0, 0])]);
    let root = tree(&["cap/good/1.png", "cap/logical_anomalies/1.png", "cap/scratch/1.png"]);
    assert_eq!(counts(&open(root.path(), Layout::Folders, Split::Test)), [("cap", [1, 2, 0, 0])]);
    // What looks like a mask beside a picture is said to be taken for one.
    let root = tree(&["cap/test/good/1.png", "cap/test/good/1_label.png", "cap/test/cut/2.png"]);
    let dataset = open(root.path(), Layout::Mvtec, Split::Test);
    assert!(dataset.classes[0].line().contains("1_label.png are taken for masks"), "{}", dataset.classes[0].line());

    let root = tree(&["cap/a.png"]);
    let error = Dataset::open(root.path(), Layout::Auto, Split::Test).unwrap_err().to_string();
    assert!(error.contains("no layout of data sets fits") && error.contains("CLASS/test/good"), "{error}");
}

#[test]
fn links_that_lead_up_are_not_followed() {
    let root = tree(&["cap/test/good/1.png", "cap/test/cut/1.png"]);
    std::os::unix::fs::symlink("..", root.path().join("cap/test/cut/again")).unwrap();
    assert_eq!(counts(&open(root.path(), Layout::Mvtec, Split::Test)), [("cap", [1, 1, 0, 0])]);
}

#[test]
fn names_are_bytes() {
    let root = tempfile::tempdir().unwrap();
    let name = |folder: &str, ending: &[u8]| {
        OsStr::from_bytes(&[folder.as_bytes(), b"/gr\xfc\xdfe", ending].concat()).to_owned()
    };
    place(root.path(), name("cap/test/cut", b".png"), 9);
    place(root.path(), name("cap/test/good", b".png"), 9);
    place(root.path(), name("cap/ground_truth/cut", b"_mask.png"), 255);
    let dataset = open(root.path(), Layout::Mvtec, Split::Test);
    assert_eq!(counts(&dataset), [("cap", [1, 1, 1, 0])]);
    assert!(dataset.classes[0].items[0].load().unwrap().1.is_some());
}

#[test]
fn masks_lie_in_many_places() {
    for mask in [
        "caps/mask/ng/1.png",
        "caps/masks/1_mask.png",
        "caps/GT/1.png",
        "caps/NG/1_mask.png",
        "caps/NG/masks/1.png",
        "caps/ground_truth/defect/1.bmp",
        "caps/ground_truth/NG/1.jpg.png",
    ] {
        let root = tree(&["caps/OK/1.jpg", "caps/NG/1.jpg", mask]);
        assert_eq!(counts(&open(root.path(), Layout::Folders, Split::Test)), [("caps", [1, 1, 1, 0])], "{mask}");
    }
    for mask in [
        "caps/ground_truth/test/cut/1.png",
        "caps/test/masks/cut/1.png",
        "caps/Masks/1_mask.png",
        "caps/test/cut/1_GT.png",
    ] {
        let root = tree(&["caps/test/good/1.jpg", "caps/test/cut/1.jpg", mask]);
        assert_eq!(counts(&open(root.path(), Layout::Mvtec, Split::Test)), [("caps", [1, 1, 1, 0])], "{mask}");
    }
    let root = tree(&["caps/test/good/1.jpg", "caps/test/cut/1.jpg", "caps/ground_truth/cut/1.png"]);
    let one_split = open(&root.path().join("caps/test"), Layout::Folders, Split::Test);
    assert_eq!(counts(&one_split), [("test", [1, 1, 1, 0])]);
    let root = tree(&["hazelnut_toy/good/1.jpg", "hazelnut_toy/crack/1.jpg", "hazelnut_toy/mask/crack/1.jpg"]);
    assert_eq!(counts(&open(root.path(), Layout::Folders, Split::Test)), [("hazelnut_toy", [1, 1, 1, 0])]);
    let root = tree(&["caps/images/ok/1.jpg", "caps/images/ng/1.jpg", "caps/masks/ng/1.png"]);
    assert_eq!(counts(&open(root.path(), Layout::Folders, Split::Test)), [("caps", [1, 1, 1, 0])]);
}

/// The masks of the picture `000`, relative to the folder of their kind.
fn masks_of_first(root: &Path) -> (Vec<String>, Vec<String>) {
    let dataset = Dataset::open(root, Layout::Auto, Split::Test).unwrap();
    let class = &dataset.classes[0];
    let first = class.items.iter().find(|item| item.anomalous).unwrap();
    let name = |mask: &std::path::PathBuf| mask.file_name().unwrap().to_string_lossy().into_owned();
    (first.masks.iter().map(name).collect(), class.remarks.clone())
}

#[test]
fn every_mask_of_a_picture_counts_however_it_is_told_from_the_others() {
    let (one, other) = ("000_mask.png", "001_mask.png");
    for second in
        ["000_mask1.png", "000_mask_2.png", "000_mask (2).png", "000_mask-2.png", "000_1.png", "000_dent_mask.png"]
    {
        let truth = |name: &str| format!("c/ground_truth/bad/{name}");
        let files = [truth(one), truth(second), truth(other), "c/test/good/9.png".to_owned()];
        let pictures = ["c/test/bad/000.png".to_owned(), "c/test/bad/001.png".to_owned()];
        let all: Vec<&str> = files.iter().chain(&pictures).map(String::as_str).collect();
        let (mut masks, _) = masks_of_first(tree(&all).path());
        masks.sort();
        let mut expected = [one, second];
        expected.sort_unstable();
        assert_eq!(masks, expected, "{second}");
    }
    // Without one of the usual name: said, since it is a guess.
    for pair in [["000_0.png", "000_1.png"], ["000_a_mask.png", "000_b_mask.png"], ["000_mask_a.png", "000_mask_b.png"]]
    {
        let truth = pair.map(|name| format!("c/ground_truth/bad/{name}"));
        let root = tree(&["c/test/bad/000.png", "c/test/good/9.png", &truth[0], &truth[1]]);
        let (masks, remarks) = masks_of_first(root.path());
        assert_eq!(masks, pair);
        assert!(remarks.iter().any(|remark| remark.starts_with("2 masks such as")), "{remarks:?}");
    }
    // The longest name counts, of all pictures: masks of all kinds in one folder, and pictures called as masks are.
    let root = tree(&[
        "c/test/good/9.png",
        "c/test/bad/000.png",
        "c/test/dent/000_1.png",
        "c/train/good/000_2.png",
        "c/masks/000_mask.png",
        "c/masks/000_1_mask.png",
        "c/masks/000_1_x.png",
        "c/masks/000_2_mask.png",
    ]);
    let dataset = Dataset::open(root.path(), Layout::Auto, Split::Test).unwrap();
    let masks: Vec<usize> = dataset.classes[0].items.iter().filter(|i| i.anomalous).map(|i| i.masks.len()).collect();
    assert_eq!(masks, [1, 2]);
    // Beside the pictures.
    let root = tree(&["test/1.png", "test/1_GT.png", "test/1_GT_2.png", "test/2.png", "train/3.png", "train/3_GT.png"]);
    let dataset = open(root.path(), Layout::Beside, Split::Test);
    assert_eq!(dataset.classes[0].items.len(), 2);
    assert_eq!(dataset.classes[0].items[0].masks.len(), 2);
}

#[test]
fn good_and_bad_say_from_where_they_are_seen() {
    let files =
        ["a/test/ok_front/1.jpeg", "a/test/ok_front/2.jpeg", "a/test/def_front/1.jpeg", "a/train/ok_front/3.jpeg"];
    assert_eq!(counts(&open(tree(&files).path(), Layout::Mvtec, Split::Test)), [("a", [2, 1, 0, 0])]);
    let files = ["a/ok_front/1.jpeg", "a/ok_front/2.jpeg", "a/def_front/1.jpeg"];
    assert_eq!(counts(&open(tree(&files).path(), Layout::Folders, Split::Test)), [("a", [2, 1, 0, 0])]);
}

#[test]
fn pictures_and_masks_in_folders_of_a_kind() {
    for files in [
        ["good/1.png", "bad/images/2.png", "bad/masks/2.png"],
        ["good/images/1.png", "bad/images/2.png", "bad/ground_truth/2_mask.png"],
    ] {
        for (prefix, layout) in [("a/", Layout::Folders), ("a/test/", Layout::Mvtec)] {
            let files = files.map(|file| format!("{prefix}{file}"));
            let root = tree(&files.each_ref().map(String::as_str));
            assert_eq!(counts(&open(root.path(), layout, Split::Test)), [("a", [1, 1, 1, 0])], "{files:?}");
        }
    }
}

#[test]
fn what_lies_around_a_data_set_is_no_part_of_it() {
    // Thumbnails of a file server, archives within archives, and a class that has pictures for training alone.
    let root = tree(&[
        "data/set/a/test/good/1.png",
        "data/set/a/test/good/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg",
        "data/set/a/test/bad/2.png",
        "data/set/b/train/good/1.png",
    ]);
    let dataset = Dataset::open(root.path(), Layout::Auto, Split::Test).unwrap();
    assert_eq!(counts(&dataset), [("a", [1, 1, 0, 0])]);
    assert!(
        dataset.remarks.iter().any(|remark| remark.starts_with("b: has no folder 'test'")),
        "{:?}",
        dataset.remarks
    );
    // Links that lead into each other.
    let root = tree(&["a/test/good/1.png", "a/test/dent/2.png", "a/test/hole/3.png"]);
    std::os::unix::fs::symlink("../hole", root.path().join("a/test/dent/other")).unwrap();
    std::os::unix::fs::symlink("../dent", root.path().join("a/test/hole/other")).unwrap();
    let dataset = Dataset::open(root.path(), Layout::Auto, Split::Test).unwrap();
    assert_eq!(dataset.classes[0].items.len(), 5);
}

//! Data sets in the four layouts, what is refused with which words, and masks as Pillow brings them to the model's size.

use std::fs;
use std::path::Path;

use image::{GrayImage, Luma, Rgb, RgbImage};
use vcp_line::dataset::{ClassItems, Dataset, Item, Layout, Mask, Split, load_mask};

fn picture(path: &Path, width: u32, height: u32) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
    GrayImage::from_pixel(width, height, Luma([90])).save(path).expect("writable");
}

/// Files below a new root, all 4×3 pixels.
fn tree(files: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("temporary folder");
    files.iter().for_each(|file| picture(&root.path().join(file), 4, 3));
    root
}

/// Class, then per item its path, mask and kind, relative to the root.
fn shape(dataset: &Dataset) -> Vec<String> {
    let relative = |path: &Path| path.strip_prefix(&dataset.root).expect("below").to_string_lossy().into_owned();
    let item = |item: &Item| {
        assert!(item.anomalous || item.masks.is_empty());
        let mask = item.masks.iter().map(|mask| relative(mask)).collect::<Vec<_>>().join("+");
        format!("{} [{mask}] {}", relative(&item.image), item.kind.as_deref().unwrap_or("-"))
    };
    let class = |class: &ClassItems| {
        let items: Vec<_> = class.items.iter().map(item).collect();
        format!("{}: {}", class.name, items.join(", "))
    };
    dataset.classes.iter().map(class).collect()
}

fn refusal(root: &Path, layout: Layout, split: Split) -> String {
    Dataset::open(root, layout, split).expect_err("refused").to_string()
}

#[test]
fn mvtec_ad() {
    let root = tree(&[
        "bottle/train/good/000.png",
        "bottle/test/good/000.png",
        "bottle/test/crack/001.png",
        "bottle/test/crack/000.png",
        "bottle/ground_truth/crack/000_mask.png",
        "bottle/ground_truth/crack/001_mask.png",
        "apple/train/good/000.png",
        "apple/test/anomaly/x.bmp",
        "apple/ground_truth/anomaly/x.png",
        "apple/test/.hidden/x.png",
    ]);
    fs::write(root.path().join("license.txt"), "").expect("writable");
    fs::write(root.path().join("bottle/test/good/notes.txt"), "").expect("writable");
    let test = Dataset::open(root.path(), Layout::Mvtec, Split::Test).expect("a data set");
    let expected = [
        "apple: apple/test/anomaly/x.bmp [apple/ground_truth/anomaly/x.png] anomaly",
        "bottle: bottle/test/crack/000.png [bottle/ground_truth/crack/000_mask.png] crack, \
         bottle/test/crack/001.png [bottle/ground_truth/crack/001_mask.png] crack, bottle/test/good/000.png [] good",
    ];
    assert_eq!(shape(&test), expected);
    assert_eq!(test.len(), 4);
    let train = Dataset::open(root.path(), Layout::Mvtec, Split::Train).expect("a data set");
    assert_eq!(shape(&train), ["apple: apple/train/good/000.png [] good", "bottle: bottle/train/good/000.png [] good"]);
    let one = Dataset::open(&root.path().join("bottle"), Layout::Mvtec, Split::Test).expect("one class");
    assert_eq!((one.classes.len(), one.classes[0].name.as_str(), one.len()), (1, "bottle", 3));
    assert_eq!(
        test.clone().only(&["bottle".into()]).expect("there"),
        Dataset { classes: test.classes[1..].to_vec(), ..test.clone() }
    );
    assert_eq!(test.clone().only(&[]).expect("all"), test);
    let error = test.only(&["pear".into()]).expect_err("absent").to_string();
    assert_eq!(error, "no class 'pear' in this split; there are: apple, bottle");
}

#[test]
fn plain_folders() {
    let root = tree(&[
        "caps/good/1.png",
        "caps/defect/2.jpg",
        "caps/defect/dent/3.png",
        "caps/ground_truth/2.png",
        "caps/ground_truth/dent/3_mask.png",
        "rings/good/1.png",
    ]);
    let expected = [
        "caps: caps/good/1.png [] good, caps/defect/2.jpg [caps/ground_truth/2.png] -, \
         caps/defect/dent/3.png [caps/ground_truth/dent/3_mask.png] dent",
        "rings: rings/good/1.png [] good",
    ];
    for split in [Split::Test, Split::Train] {
        assert_eq!(shape(&Dataset::open(root.path(), Layout::Folders, split).expect("a data set")), expected);
    }
    let one = Dataset::open(&root.path().join("caps"), Layout::Folders, Split::Test).expect("one class");
    assert_eq!((one.classes[0].name.as_str(), one.len()), ("caps", 3));
}

#[test]
fn visa() {
    let root = tree(&["candle/a.png", "candle/b.png", "candle/m.png", "pcb1/a.png"]);
    fs::create_dir(root.path().join("split_csv")).expect("writable");
    let list = |lines: &str| {
        let text = format!("object,split,label,image,mask\n{lines}");
        fs::write(root.path().join("split_csv/1cls.csv"), text).expect("writable");
    };
    list(
        "pcb1,train,normal,pcb1/a.png,\n\
         candle,test,anomaly,candle/b.png,candle/m.png\n\
         candle,test,normal,candle/a.png,\n",
    );
    let test = Dataset::open(root.path(), Layout::Visa, Split::Test).expect("a data set");
    assert_eq!(shape(&test), ["candle: candle/b.png [candle/m.png] -, candle/a.png [] good"]);
    let train = Dataset::open(root.path(), Layout::Visa, Split::Train).expect("a data set");
    assert_eq!(shape(&train), ["pcb1: pcb1/a.png [] good"]);

    let good = "candle,test,normal,candle/a.png,\n";
    for (line, reason) in [
        ("candle,test,odd,candle/b.png,", "line 3: label 'odd' must be normal or anomaly"),
        ("candle,val,normal,candle/b.png,", "line 3: split 'val' must be train or test"),
        ("candle,test,normal,../b.png,", "line 3: '../b.png' does not stay below the root"),
        ("candle,test,anomaly,candle/b.png,/etc/m.png", "line 3: '/etc/m.png' does not stay below the root"),
        ("candle,test,normal,,", "line 3: names no image"),
        ("candle,test", "line 3: CSV error"),
    ] {
        list(&format!("{good}{line}\n"));
        let error = refusal(root.path(), Layout::Visa, Split::Test);
        assert!(error.contains(&format!("1cls.csv, {reason}")), "{error}");
    }
    fs::write(root.path().join("split_csv/1cls.csv"), "a,b\n").expect("writable");
    let error = refusal(root.path(), Layout::Visa, Split::Test);
    assert!(error.ends_with("line 1: the columns must be object,split,label,image,mask"), "{error}");
}

#[test]
fn meta() {
    let root = tree(&["mvtec/cap/1.bmp", "mvtec/cap/2.bmp", "mvtec/cap/m.png"]);
    let list = root.path().join("meta_mvtec.json");
    let entry = |image: &str, mask: &str, anomaly: u8| {
        serde_json::json!({
            "img_path": image, "mask_path": mask, "cls_name": "cap", "specie_name": if anomaly == 0 { "good" } else { "cut" },
            "dataset_name": "mvtec", "anomaly": anomaly,
        })
    };
    let write = |test: Vec<serde_json::Value>| {
        let json = serde_json::json!({"train": {"cap": [entry("", "", 0)]}, "test": {"cap": test}});
        fs::write(&list, json.to_string()).expect("writable");
    };
    write(vec![entry("mvtec/cap/2.bmp", "mvtec/cap/m.png", 1), entry("mvtec/cap/1.bmp", "", 0)]);
    let expected = ["cap: mvtec/cap/2.bmp [mvtec/cap/m.png] cut, mvtec/cap/1.bmp [] good"];
    for root in [root.path(), &list] {
        let dataset = Dataset::open(root, Layout::Meta, Split::Test).expect("a data set");
        assert_eq!(shape(&dataset), expected);
    }
    let error = refusal(root.path(), Layout::Meta, Split::Train);
    assert!(error.ends_with("the split 'train' holds no picture"), "{error}");

    write(vec![entry("mvtec/cap/1.bmp", "", 0), entry("mvtec/cap/2.bmp", "", 1)]);
    let dataset = Dataset::open(root.path(), Layout::Meta, Split::Test).expect("a data set");
    assert_eq!(shape(&dataset), ["cap: mvtec/cap/1.bmp [] good, mvtec/cap/2.bmp [] cut"], "labels without masks count");
    let mut null = entry("mvtec/cap/2.bmp", "", 1);
    null["mask_path"] = serde_json::Value::Null;
    write(vec![null]);
    assert_eq!(Dataset::open(root.path(), Layout::Auto, Split::Test).expect("a data set").layout, Layout::Meta);
    write(vec![entry("mvtec/../../1.bmp", "", 0)]);
    assert!(refusal(root.path(), Layout::Meta, Split::Test).ends_with("does not stay below the root"));
    fs::write(&list, "{\"test\": 3}").expect("writable");
    assert!(refusal(root.path(), Layout::Meta, Split::Test).contains("meta_mvtec.json: invalid type"));
    fs::write(root.path().join("meta_visa.json"), "{}").expect("writable");
    let error = refusal(root.path(), Layout::Meta, Split::Test);
    assert!(
        error.ends_with("holds meta_mvtec.json, meta_visa.json: give the one that is meant as the root"),
        "{error}"
    );
}

#[test]
fn what_is_missing_is_named() {
    let root = tree(&["cap/test/cut/1.png", "cap/ground_truth/cut/2_mask.png"]);
    // One mask is missing: that picture counts as a whole, and what lies there instead is named.
    let dataset = Dataset::open(root.path(), Layout::Mvtec, Split::Test).expect("a data set");
    let item = &dataset.classes[0].items[0];
    assert!(item.anomalous && !item.has_truth() && item.load().expect("a picture").1.is_none());
    let line = dataset.classes[0].line();
    assert!(line.contains("1 pictures in ") && line.contains("cut/2_mask.png belongs to none of them"), "{line}");
    let error = refusal(root.path(), Layout::Mvtec, Split::Train);
    assert!(error.contains("cap/train: No such file") && error.contains("the layout 'mvtec' needs it"), "{error}");
    let error = refusal(root.path(), Layout::Folders, Split::Test);
    assert!(error.contains("no folder here holds 'good' or 'defect'"), "{error}");
    let error = refusal(root.path(), Layout::Visa, Split::Test);
    assert!(error.contains("split_csv/1cls.csv: No such file"), "{error}");
    let error = refusal(root.path(), Layout::Meta, Split::Test);
    assert!(error.contains("holds neither meta.json nor meta_NAME.json"), "{error}");
    for layout in [Layout::Mvtec, Layout::Visa, Layout::Meta, Layout::Folders] {
        let error = refusal(&root.path().join("absent"), layout, Split::Test);
        assert!(error.contains("absent") && error.contains("No such file"), "{error}");
    }
}

#[test]
fn a_mask_must_be_as_large_as_its_picture() {
    let root = tree(&["defect/1.png"]);
    picture(&root.path().join("ground_truth/1.png"), 5, 3);
    let dataset = Dataset::open(root.path(), Layout::Folders, Split::Test).expect("a data set");
    let error = dataset.classes[0].items[0].load().expect_err("another size").to_string();
    assert!(error.contains("ground_truth/1.png has 5x3 pixels, its image"), "{error}");
    assert!(error.ends_with("defect/1.png has 4x3: they must be equal"), "{error}");
    picture(&root.path().join("ground_truth/1.png"), 4, 3);
    let (image, mask) = dataset.classes[0].items[0].load().expect("equal sizes");
    assert_eq!((image.width, image.height), (4, 3));
    assert_eq!(mask, Some(Mask { width: 4, height: 3, anomalous: vec![true; 12] }));
    fs::write(root.path().join("defect/1.png"), "damaged").expect("writable");
    assert!(dataset.classes[0].items[0].load().is_err());
}

#[test]
fn what_is_not_black_in_pillows_grey_is_anomalous() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("mask.png");
    let colours = [[0, 0, 1], [0, 0, 4], [0, 0, 5], [1, 0, 0], [2, 0, 0], [0, 1, 0]];
    RgbImage::from_fn(6, 1, |x, _| Rgb(colours[x as usize])).save(&path).expect("writable");
    let mask = Mask::load(&path).expect("a mask");
    // Pillow 13.0.0: convert("L") gives 0 0 1 0 1 1.
    assert_eq!(mask.anomalous, [false, false, true, false, true, true]);
    let levels = [0u16, 1, 255, 256, 65280];
    image::ImageBuffer::from_fn(5, 1, |x, _| Luma([levels[x as usize]])).save(&path).expect("writable");
    // Pillow 13.0.0: convert("L") gives 0 1 255 255 255.
    assert_eq!(Mask::load(&path).expect("a mask").anomalous, [false, true, true, true, true]);
}

/// Blobs and thin lines.
fn pattern(width: u32, height: u32) -> Vec<bool> {
    let at = |x: u32, y: u32| (x * x * 7 + y * y * 11 + x * y * 3) / 97 % 13 < 3 || x.is_multiple_of(17);
    (0..height).flat_map(|y| (0..width).map(move |x| at(x, y))).collect()
}

fn fnv(bits: &[bool]) -> u64 {
    bits.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &bit| (hash ^ u64::from(bit)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn masks_come_to_the_models_size_as_in_pillow() {
    // Columns, rows, S; anomalous pixels and FNV-1a of `Image.resize((S, S), BILINEAR) / 255 > 0.5` in Pillow 13.0.0.
    for (width, height, size, count, hash) in [
        (97, 131, 56, 406, 0xee2a80eb9583aa71),
        (56, 56, 56, 875, 0x3b5179b287643258),
        (40, 300, 56, 356, 0x2c7bd58791d56715),
        (300, 40, 56, 116, 0x1fad3e08bcb893dd),
        (33, 21, 98, 2646, 0x4e5e6b6961f25f61),
        (56, 200, 56, 382, 0xa8ff981fd9f33707),
        (1, 7, 14, 196, 0x8c2b9c20dc99d859),
        (640, 480, 98, 41, 0xa99fc363af5d0086),
        (111, 98, 98, 2724, 0x9a62e0e682f48853),
        (30, 500, 56, 310, 0xa0f30df2519cbef),
    ] {
        let mask = Mask { width, height, anomalous: pattern(width, height) };
        let resized = mask.resized(size);
        assert_eq!(resized.len(), size * size);
        let found = (resized.iter().filter(|&&anomalous| anomalous).count(), fnv(&resized));
        assert_eq!(found, (count, hash), "{width}x{height} to {size}");
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("mask.png");
    picture(&path, 20, 30);
    assert_eq!(load_mask(&path, 14).expect("a mask"), [true; 196]);
}

//! The arrangements of files that data sets come in.

/// How the files of a data set are arranged below its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One of the others, by what lies there.
    Auto,
    /// MVTec-AD: `CLASS/train/good`, `CLASS/test/KIND`, `CLASS/ground_truth/KIND/NAME_mask.png` (or `NAME.png`). Also MVTec
    /// LOCO, MVTec AD 2, BTAD, MPDD.
    Mvtec,
    /// VisA: `split_csv/1cls.csv` with the columns object, split, label, image, mask.
    Visa,
    /// The released VCP-CLIP code: `meta.json` or `meta_NAME.json`; the root may be the file itself.
    Meta,
    /// `CLASS/good`, `CLASS/defect`, `CLASS/ground_truth`, or the three at the root; there is no split.
    Folders,
    /// KolektorSDD, KolektorSDD2, DAGM: masks beside the pictures or in `Label`; what has no mask, or a black one, is good.
    Beside,
    /// Real-IAD: `CLASS.json` with the lists train and test.
    RealIad,
}

impl Layout {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Mvtec => "mvtec",
            Self::Visa => "visa",
            Self::Meta => "meta",
            Self::Folders => "folders",
            Self::Beside => "beside",
            Self::RealIad => "realiad",
        }
    }

    /// How it tells good parts from others, in a few words.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Auto => "found by what lies there",
            Self::Mvtec => "a folder for each kind of part within train and test",
            Self::Visa => "as split_csv/1cls.csv lists them",
            Self::Meta => "as meta.json lists them",
            Self::Folders => "a folder for good parts and one for others",
            Self::Beside => "masks beside the pictures",
            Self::RealIad => "as CLASS.json lists them",
        }
    }
}

//! The command line's words for choices that other modules define, each with its line of `--help`.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::dataset::{Layout, Split};
use crate::engine::{EngineChoice, Precision};
use crate::learn::device::DeviceChoice;
use crate::learn::features::Kept;
use crate::learn::vcp_settings::Schedule;

/// Says the words in the order of `--help`; a choice without a word does not compile.
macro_rules! words {
    ($choice:ty { $($variant:ident => $word:literal, $help:literal;)+ }) => {
        impl ValueEnum for $choice {
            fn value_variants<'a>() -> &'a [Self] {
                &[$(Self::$variant),+]
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                Some(match self {
                    $(Self::$variant => PossibleValue::new($word).help($help),)+
                })
            }
        }
    };
}

words!(EngineChoice {
    Auto => "auto", "The fastest engine that works here; which one is logged and shown in every event";
    Reference => "reference", "Plain Rust, float32";
    Openvino => "openvino", "OpenVINO on the CPU";
    Tensorrt => "tensorrt", "TensorRT and our own kernels on an NVIDIA GPU; needs a plan, see `vcp-line model build`";
    Remote => "remote", "Another computer's, over the Open Inference Protocol; needs --endpoint or `[model.remote]`";
});

words!(Precision {
    Auto => "auto", "The fastest that is right here; which one is logged and shown in every event";
    Fp32 => "fp32", "float32";
    Bf16 => "bf16", "bfloat16 matrix products";
    Fp16 => "fp16", "float16 (TensorRT)";
    Int8 => "int8",
        "8-bit products where they held the gate, the rest as bf16 (OpenVINO) or fp16 (TensorRT); see `vcp-line model quantize`";
    Fp8 => "fp8", "The same in floats of 8 bits, where they held the gate as well (TensorRT, SM 8.9 and later)";
});

words!(Layout {
    Auto => "auto", "One of the others, by what lies there; says which, and what it found";
    Mvtec => "mvtec",
        "MVTec-AD: `CLASS/train/good`, `CLASS/test/KIND`, `CLASS/ground_truth/KIND/NAME_mask.png` (or `NAME.png`); also \
         MVTec LOCO, MVTec AD 2, BTAD, MPDD";
    Visa => "visa", "VisA: `split_csv/1cls.csv` with the columns object, split, label, image, mask";
    Meta => "meta", "The released VCP-CLIP code: `meta.json` or `meta_NAME.json`; the root may be the file itself";
    Folders => "folders",
        "`CLASS/good`, `CLASS/defect`, `CLASS/ground_truth`, or the three at the root; there is no split";
    Beside => "beside", "KolektorSDD, KolektorSDD2, DAGM: masks beside the pictures or in `Label`; no mask, or a black one, is good";
    RealIad => "realiad", "Real-IAD: `CLASS.json` with the lists train and test";
});

words!(Split {
    Train => "train", "Good parts alone, as the published sets have them";
    Test => "test", "Good and anomalous parts. The released training uses this part of the auxiliary set, too";
});

words!(DeviceChoice {
    Cpu => "cpu", "This machine's processor";
    Cuda => "cuda", "The first NVIDIA card, with CUDA";
    Vulkan => "vulkan", "The best graphics card, with Vulkan";
});

words!(Schedule {
    Constant => "constant", "They stay, as in the released training";
    Cosine => "cosine", "They fall along half a cosine to a hundredth";
});

words!(Kept {
    F16 => "f16", "As 16-bit floats: half the room, each number off by 0.05 % at most";
    F32 => "f32", "As they are";
});

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: ValueEnum>(name: impl Fn(&T) -> String) {
        for choice in T::value_variants() {
            let word = choice.to_possible_value().map(|value| value.get_name().to_owned());
            assert_eq!(word, Some(name(choice)));
        }
    }

    #[test]
    fn the_words_are_those_of_reports_and_events() {
        check(|engine: &EngineChoice| engine.to_string());
        check(|precision: &Precision| precision.to_string());
        check(|layout: &Layout| layout.name().to_owned());
        check(|split: &Split| split.name().to_owned());
    }
}

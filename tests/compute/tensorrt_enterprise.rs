//! The build for data-centre GPUs and Jetson without TensorRT: what is missing is named with the next step. More of it
//! cannot be seen without a card; `cargo test --no-default-features --features tensorrt-enterprise --test compute
//! tensorrt_enterprise`.

use std::process::Command;

use crate::support::tiny;
use vcp_line::engine::EngineError;
use vcp_line::engine::plan::{self, Flavour};
use vcp_line::engine::tensorrt::{self, BuildRequest, FLAVOUR};
use vcp_line::engine::{Precision, plan::Card};

#[test]
fn plans_have_names_of_their_own_and_every_card_is_tensorrts_to_judge() {
    assert_eq!(FLAVOUR, Flavour::Tensorrt);
    let path = plan::default_path("b".as_ref(), FLAVOUR, Precision::Fp16);
    assert_eq!(path.to_str(), Some("b/tensorrt-fp16.plan"));
    for sm in [80, 87, 90, 100] {
        FLAVOUR.covers(sm).unwrap();
    }
}

#[test]
fn without_the_library_it_is_named_with_its_version_and_where_it_comes_from() {
    let (_folder, bundle) = tiny::bundle();
    let said = |error: EngineError| {
        let said = error.to_string();
        assert!(said.contains("libnvinfer.so.11 could not be loaded"), "{said}");
        assert!(said.contains("TensorRT 11.4") && said.contains("libnvinfer11"), "{said}");
        assert!(!said.contains("scripts/tensorrt.sh"), "{said}");
    };
    let precision = Precision::Fp16;
    let request =
        BuildRequest { bundle: bundle.clone(), sms: vec![90], precision, max_batch: 1, output: None, scales: None };
    said(tensorrt::build(&request, tensorrt::unwatched()).unwrap_err());
    let spec = vcp_line::engine::EngineSpec::new(&bundle);
    said(tensorrt::check_plan(&spec, Card { name: "H100", sm: 90, driver: "13.0" }).unwrap_err());

    let output = Command::new(env!("CARGO_BIN_EXE_vcp-line"))
        .args(["model", "build", bundle.to_str().unwrap(), "--sm", "9.0"])
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("libnvinfer.so.11") && said.contains("tensorrt-cu13-libs"), "{said}");
}

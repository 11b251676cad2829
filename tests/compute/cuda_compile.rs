//! Every kernel compiles for every architecture that it must run on, without a card, and fits the registers.

use vcp_line::cuda::{KernelCache, PROGRAMS, compile};

/// Compute capability × 10: A100, RTX A-series, Jetson Orin, Ada, H100, B200, Jetson Thor, Blackwell workstation cards.
const ARCHITECTURES: [u32; 8] = [80, 86, 87, 89, 90, 100, 110, 120];

/// The number in front of `unit`.
fn number(line: &str, unit: &str) -> Option<u32> {
    line.split_once(unit)?.0.split_whitespace().last()?.parse().ok()
}

#[test]
fn kernels_compile_for_every_architecture_without_spills() {
    for sm in ARCHITECTURES {
        for program in &PROGRAMS {
            let compiled = compile(program, sm).unwrap_or_else(|error| panic!("{error}"));
            assert!(compiled.cubin.starts_with(b"\x7fELF"), "{} for {sm} is no ELF file", program.name);
            for kernel in program.kernels {
                let mut lines = compiled.log.lines().skip_while(|l| !l.contains(&format!("entry function '{kernel}'")));
                let report: Vec<&str> = std::iter::once(lines.next().unwrap_or_default())
                    .chain(lines.take_while(|line| !line.contains("entry function")))
                    .collect();
                let find = |unit| report.iter().find_map(|line| number(line, unit));
                let registers = find(" registers");
                let spills = find(" bytes spill stores").zip(find(" bytes spill loads"));
                println!(
                    "{sm} {kernel}: {registers:?} registers, {spills:?} spilled, {:?} shared",
                    find(" bytes smem")
                );
                assert_eq!(spills, Some((0, 0)), "{kernel} for {sm}: {}", compiled.log);
                assert!(registers.is_some_and(|n| n <= 255), "{kernel} for {sm}: {}", compiled.log);
            }
        }
    }
}

#[test]
fn a_damaged_entry_of_the_cache_is_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = KernelCache::at(folder.path());
    let program = &PROGRAMS[PROGRAMS.len() - 1];
    let first = cache.cubin(program, 89).unwrap();
    let entry = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let kept = std::fs::read(&entry).unwrap();
    let mut damaged = kept.clone();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&entry, &damaged).unwrap();
    assert_eq!(cache.cubin(program, 89).unwrap(), first);
    assert_eq!(std::fs::read(&entry).unwrap(), kept);
}

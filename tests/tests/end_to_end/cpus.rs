//! Code for other CPUs than this machine's: right answers from all that it can run.

use qwenc_tests::golden::say;
use qwenc_tests::variants::executable_for;

/// The instruction sets of a level, the one below not counted.
fn needs(cpu: &str) -> &'static [&'static str] {
    match cpu {
        "x86-64-v3" => &["avx2", "fma"],
        "x86-64-v4" => &["avx512f", "avx512bw", "avx512vl"],
        _ => &[],
    }
}

/// Whether the kernel lists these features of this machine.
fn has(features: &[&str]) -> bool {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags")).unwrap();
    features.iter().all(|f| flags.split_whitespace().any(|flag| flag == *f))
}

fn check(cpu: &str) {
    if !has(needs(cpu)) {
        println!("SKIPPED: this machine cannot run {cpu} code");
        return;
    }
    for quant in ["f32", "bf16", "int8"] {
        let executable = executable_for("sample", quant, cpu);
        let said = say(&executable, &["generate", "The capital of Brazil is"]).ok();
        assert_eq!(said, " Brasília.\n", "{cpu} {quant}");
        let info = say(&executable, &["info"]).ok();
        let line = |name: &str| info.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_string();
        assert_eq!(line("compiled for "), cpu);
        let instructions = line("instructions ");
        let listed: Vec<&str> = instructions.split(", ").collect();
        for feature in needs(cpu) {
            assert!(listed.contains(feature), "{cpu}: {instructions}");
        }
        assert!(cpu == "x86-64-v4" || cpu == "native" || !instructions.contains("avx512"), "{instructions}");
        assert!(cpu != "x86-64" || instructions == "those of any x86-64", "{instructions}");
    }
}

#[test]
fn any_x86_64_runs_the_baseline() {
    check("x86-64");
}

#[test]
fn avx2() {
    check("x86-64-v3");
}

#[test]
fn avx512() {
    check("x86-64-v4");
}

#[test]
fn this_very_machine() {
    check("native");
    // What this machine can do, `native` must use.
    let info = say(&executable_for("sample", "bf16", "native"), &["info"]).ok();
    for feature in ["avx2", "avx512f", "avx512_vnni", "avx512_bf16"] {
        assert!(!has(&[feature]) || info.contains(&feature.replace('_', "")), "{feature}: {info}");
    }
}

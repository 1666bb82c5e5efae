//! `--target cuda`: what it makes of the sample, from the graph to the executable. No GPU is needed.

use std::path::Path;
use std::process::Command;

use qwenc_tests::data;
use qwenc_tests::nvrtc;
use qwenc_tests::program::{binary, qwenc, run};
use qwenc_tests::variants::{folder, listing};

use crate::cuda_runs::on_host;

/// `qwenc compile sample --target cuda` with these arguments and the NVRTC of the tests.
pub fn compile(args: &[&str]) -> Command {
    let mut command = qwenc(&[&["compile", "sample", "--target", "cuda"], args].concat());
    command.env("QWENC_NVRTC", nvrtc::folder());
    command
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// Lines of a plan that say how weights lie in the image.
fn image(plan: &str) -> String {
    let lines = plan.lines().filter(|line| line.starts_with("image ") || line.starts_with("segment "));
    lines.map(|line| format!("{line}\n")).collect()
}

/// One graph and one image of weights for every processor, and one plan for every GPU; plans for CPUs and GPUs differ in
/// scratch memory.
#[test]
fn both_targets_run_the_same_graph() {
    for quant in ["bf16", "int8", "int4"] {
        // Plans for later CPUs have bf16 in 12 bits.
        let older = ["--cpu", "x86-64-v2"];
        let older = if quant == "bf16" { &older[..] } else { &[] };
        let cpu = |emit| {
            let flags = ["compile", "sample", "--quant", quant, "--emit", emit];
            run(&mut qwenc(&[&flags[..], older].concat())).ok()
        };
        let cuda = |emit, sm| run(&mut compile(&["--quant", quant, "--emit", emit, "--sm", sm])).ok();
        let (graph, packed, plan) = (cpu("graph"), image(&cpu("plan")), cuda("plan", "80"));
        assert!(packed.lines().count() > 10, "{packed}");
        for sm in ["80", "86", "89", "90", "100", "120"] {
            assert!(
                cuda("graph", sm) == graph,
                "the {quant} graph for sm_{sm} differs from that for the CPU"
            );
            assert!(cuda("plan", sm) == plan, "the {quant} plan for sm_{sm} differs from that for sm_80");
        }
        assert_eq!(image(&plan), packed, "{quant}");
    }
}

#[test]
fn explain_tells_of_the_gpu() {
    let said = run(&mut compile(&["--sm", "80,90", "--explain", "--emit", "plan"])).ok();
    assert!(said.starts_with("machine sm_90, 132 multiprocessors (H100 SXM, published): "), "{said}");
    assert!(said.contains("\npredicted, on sm_90, 132 multiprocessors (") && said.contains(" us per launch"));
}

#[test]
fn every_level_of_the_kernels() {
    let source = run(&mut compile(&["--emit", "cuda"])).ok();
    assert!(source.contains("extern \"C\" __global__ "), "{source}");
    assert_eq!(run(&mut compile(&["--emit", "cuda", "--sm", "80"])).ok(), source, "one source for all");

    let ptx = run(&mut compile(&["--emit", "ptx", "--sm", "90,80"])).ok();
    assert!(ptx.contains("\n.target sm_90\n") && ptx.contains(".visible .entry ") && !ptx.contains('\0'));
    assert_eq!(run(&mut compile(&["--emit", "ptx", "--sm", "90"])).ok(), ptx);

    let place = folder();
    // Standard output is a pipe here, which machine code may go to.
    let piped = compile(&["--emit", "cubin", "--sm", "80,90"]).current_dir(&place).output().unwrap();
    assert!(piped.status.success() && listing(&place).is_empty());
    let path = place.join("other");
    run(&mut compile(&["--emit", "cubin", "--sm", "90", "-o", path.to_str().unwrap()])).ok();
    assert!(bytes(&path).starts_with(b"\x7fELF"));
    assert!(bytes(&path) == piped.stdout, "the newest is written");
}

/// In folders whose names the assembler must not read as its own language, and with the list in any order.
#[test]
fn the_same_bytes() {
    let place = folder();
    let lists = ["80,90", "90,80", "90,90,80"];
    let folders = ["plain", "a \"b\" \\042 $c", "é, 'x';#\n"];
    for (name, list) in folders.iter().zip(lists) {
        std::fs::create_dir(place.join(name)).unwrap();
        let output = place.join(name).join("qwen");
        let said = run(&mut compile(&["--sm", list, "-o", output.to_str().unwrap()]));
        assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{}", said.err);
        assert!(said.err.contains("MB of weights embedded, cuda for sm_80, sm_90, compute_90 in "));
        assert_eq!(listing(&place.join(name)), ["qwen"]);
    }
    let [plain, others @ ..] = folders.map(|name| bytes(&place.join(name).join("qwen")));
    assert!(others.iter().all(|other| *other == plain), "the same input, other bytes");

    let output = place.join("external");
    run(&mut compile(&["--weights", "external", "--sm", "90", "-o", output.to_str().unwrap()])).ok();
    assert!(place.join("external.weights").exists() && bytes(&output).len() < plain.len());
}

/// Facts for `info` and `bench`.
#[test]
fn executables_carry_their_architectures_and_the_prediction() {
    let output = folder().join("qwen");
    run(&mut compile(&["--sm", "80,90", "-o", output.to_str().unwrap()])).ok();
    let file = String::from_utf8_lossy(&bytes(&output)).into_owned();
    assert!(file.contains(r#""target":{"cpu":"cuda","features":"sm_80,sm_90,compute_90"}"#));
    assert!(file.contains(r#""machine":"sm_90, 132 multiprocessors (H100 SXM, published): "#));
    assert!(file.contains(r#""modules":[{"sm":80,"ptx":false,"offset":0,"#));
    assert!(file.contains(".target sm_90"), "PTX is text");
}

/// The environment has the C compiler's own programs and Python's packages on PATH, and nothing else.
#[test]
fn nvrtc_is_found_among_pythons_packages() {
    use std::os::unix::fs::symlink;
    let place = folder();
    for tool in ["cc", "as", "ld"] {
        let found = run(Command::new("sh").args(["-c", &format!("command -v {tool}")])).ok();
        symlink(found.trim_end(), place.join(tool)).unwrap();
    }
    let path = format!("{}:{}", place.display(), data::root().join("target/nvidia/bin").display());
    let output = place.join("qwen");
    let args = ["compile", "sample", "--target", "cuda", "--sm", "90", "-o", output.to_str().unwrap()];
    run(Command::new(binary()).args(args).env_clear().env("PATH", path)).ok();
    assert!(output.exists());
}

/// A driver of this machine is hidden behind a file that is no library, which the loader finds first.
#[test]
fn without_a_driver_it_says_so() {
    let hiding = folder();
    let output = on_host("bf16").with_file_name("qwen");
    for name in ["libcuda.so", "libcuda.so.1"] {
        std::fs::write(hiding.join(name), "no library").unwrap();
    }
    let qwen = |args: &[&str]| run(Command::new(&output).args(args).env("LD_LIBRARY_PATH", &hiding));
    let said = qwen(&["generate", "--tokens", "1,2"]).refused(1);
    assert!(said.contains("libcuda.so.1") && said.contains("--target cpu"), "{said}");
    // What needs no device works.
    assert!(qwen(&["verify"]).ok().starts_with("ok: "));
    assert!(qwen(&["info"]).ok().contains("sm_90"));
}

//! NVRTC: the same in, the same out, and what it says when it cannot.

use std::path::{Path, PathBuf};

use qwenc_cuda::{Compiled, Form, Nvrtc, NvrtcError, DEFAULT_SMS};
use qwenc_formats::DType;

use crate::ptxas::{source, SAMPLE};
use crate::tools::{nvrtc, nvrtc_path, Ptx};

const TWICE: &str = "extern \"C\" __global__ void twice(float *x) { x[threadIdx.x] *= 2.0f; }\n";

/// Modules of an executable: a cubin for each architecture, and PTX of the newest.
fn targets() -> Vec<(u32, Form)> {
    DEFAULT_SMS.into_iter().map(|sm| (sm, Form::Cubin)).chain([(120, Form::Ptx)]).collect()
}

fn all(threads: usize) -> Vec<Compiled> {
    nvrtc().compile_all(TWICE, &targets(), threads, &|_| ()).unwrap()
}

#[test]
fn the_same_bytes_whatever_the_threads() {
    let once = all(1);
    for threads in [1, 2, 16] {
        assert!(all(threads) == once, "{threads} threads");
    }
    let made: Vec<_> = once.iter().map(|c| (c.sm, c.form)).collect();
    assert_eq!(made, targets());
}

/// The tables of ptxas rely on it, as `compile_all` does on PTX beside a cubin.
#[test]
fn the_same_ptx_for_every_architecture() {
    let kernels = source(SAMPLE, DType::Bf16);
    let ptx = Ptx::of(&kernels);
    let beside = nvrtc().compile_all(&kernels, &[(120, Form::Cubin), (120, Form::Ptx)], 1, &|_| ()).unwrap();
    let alone = nvrtc().compile(&kernels, 80, Form::Ptx).unwrap();
    for made in [&alone, &beside[1]] {
        assert!(made.bytes.strip_suffix(b"\0").unwrap() == ptx.text(made.sm).as_bytes(), "sm_{}", made.sm);
    }
    assert!(all(1).pop() == Some(nvrtc().compile(TWICE, 120, Form::Ptx).unwrap()));
}

#[test]
fn cubins_are_elf_and_ptx_is_a_c_string() {
    for piece in all(2) {
        let text = String::from_utf8_lossy(&piece.bytes);
        match piece.form {
            Form::Cubin => assert!(piece.bytes.starts_with(b"\x7fELF"), "sm_{}", piece.sm),
            Form::Ptx => {
                assert!(text.contains(".target sm_120") && text.contains(".visible .entry twice("), "{text}");
                assert!(text.ends_with('\0') && text.matches('\0').count() == 1);
            }
        }
        assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "no path of this machine");
    }
}

#[test]
fn progress_ends_with_all() {
    let told = std::sync::Mutex::new(Vec::new());
    nvrtc().compile_all(TWICE, &targets(), 2, &|n| told.lock().unwrap().push(n)).unwrap();
    let mut told = told.into_inner().unwrap();
    told.sort_unstable();
    assert_eq!(told, (1..=targets().len()).collect::<Vec<_>>());
}

#[test]
fn a_refused_text_is_a_bug_with_a_log() {
    let said = nvrtc().compile("__global__ void k(float x) { y = x; }", 90, Form::Cubin).unwrap_err();
    let said = said.to_string();
    assert!(said.contains("--gpu-architecture=sm_90") && said.contains("this is a bug in qwenc"), "{said}");
    assert!(said.contains("qwenc.cu(1)") && said.contains("identifier \"y\" is undefined"), "{said}");
    assert_eq!(nvrtc().compile("\0", 90, Form::Ptx), Err(NvrtcError::Nul));
}

#[test]
fn unknown_architectures_are_named() {
    let said = nvrtc().compile(TWICE, 95, Form::Cubin).unwrap_err().to_string();
    assert!(
        said.starts_with("NVRTC 13.5 (") && said.contains("cannot compile for sm_95; it can for sm_80, ")
    );
    let said = Nvrtc::find(&[nvrtc_path()], &[80, 70, 999]).unwrap_err().to_string();
    assert!(said.contains("cannot compile for sm_70, sm_999; it can for sm_80, sm_86, "), "{said}");
    assert!(!said.contains("sm_75"), "kernels cannot run there: {said}");
}

#[test]
fn candidates_are_tried_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("libnvrtc.so");
    std::fs::write(&broken, "no library").unwrap();
    let gone = PathBuf::from("/nowhere/libnvrtc.so");
    let name = PathBuf::from("libnvrtc-of-nobody.so");
    // A library, but not NVRTC.
    let other = PathBuf::from("libc.so.6");
    let found =
        Nvrtc::find(&[gone.clone(), name.clone(), broken.clone(), other.clone(), nvrtc_path()], &[90]);
    assert_eq!(found.unwrap().version(), (13, 5));

    let said = Nvrtc::find(&[gone, name], &[90]).unwrap_err();
    assert_eq!(said, NvrtcError::NotFound { broken: Vec::new() });
    assert!(said.to_string().contains("was not found; install it with `pip install nvidia-cuda-nvrtc`"));
    let said = Nvrtc::find(std::slice::from_ref(&broken), &[90]).unwrap_err().to_string();
    assert!(said.contains(&format!("({}: loading NVRTC: ", broken.display())), "{said}");
    let said = Nvrtc::load(Path::new("libc.so.6")).unwrap_err().to_string();
    assert!(said.contains("nvrtcVersion"), "{said}");
}

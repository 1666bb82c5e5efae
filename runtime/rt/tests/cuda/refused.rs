//! Refusals of programs that cannot run on this machine's GPUs, or on any.

use std::ffi::{c_char, c_ulong, CString};

use qwenc_rt::qwenc_main_cuda;

use crate::host::{with_gpu, without_driver};
use crate::mock::{free, ROWS};
use crate::model::{bundle_of, cubin, launches, Both};

const GENERATE: [&str; 5] = ["generate", "--tokens", "1,2", "--max-tokens", "3"];

#[test]
fn without_a_driver_info_and_verify_work_and_nothing_else() {
    without_driver("refused::without_a_driver_info_and_verify_work_and_nothing_else", || {
        let both = Both::new(&free(ROWS));
        assert!(both.gpu(&["info"]).ok().contains("no CUDA driver found"));
        assert!(both.gpu(&["verify"]).ok().starts_with("ok: "));
        let said = both.gpu(&GENERATE).refused(1);
        assert!(said.contains("libcuda.so.1") && said.contains("--target cpu"), "{said}");
        assert!(both.gpu(&["--help"]).ok().contains("bench"));
    });
}

#[test]
fn flags_of_the_other_processor_are_refused_and_not_shown() {
    let both = Both::new(&free(ROWS));
    for flag in [&["--threads", "2"][..], &["--pin"]] {
        let said = both.gpu(&[&GENERATE[..], flag].concat()).refused(2);
        assert!(said.contains(flag[0]) && said.contains("--target cpu"), "{said}");
    }
    let synthetic = ["bench", "--synthetic-weights"];
    let profile = ["bench", "--profile"];
    let gpu_only = [&["--device", "0"][..], &["--decode", "graph"]].map(|f| [&GENERATE[..], f].concat());
    for args in gpu_only.iter().map(Vec::as_slice).chain([&synthetic[..], &profile]) {
        let said = both.cpu(args).refused(2);
        assert!(said.contains("runs on the CPU") && said.contains("--target cuda"), "{said}");
    }
    let help = [both.cpu(&["bench", "--help"]).ok(), both.gpu(&["bench", "--help"]).ok()];
    for (flag, on) in [
        ("--threads", 0),
        ("--pin", 0),
        ("--device", 1),
        ("--decode", 1),
        ("--synthetic-weights", 1),
        ("--profile", 1),
    ] {
        assert!(help[on].contains(flag) && !help[1 - on].contains(flag), "{flag}: {}", help[1 - on]);
    }
}

#[test]
fn changed_kernels_are_found_by_verify() {
    let mut both = Both::new(&free(ROWS));
    *both.bundle.last_mut().unwrap() ^= 1;
    let said = both.gpu(&["verify"]).refused(1);
    assert!(said.contains("the CUDA code is damaged"), "{said}");
}

#[test]
fn devices_that_are_not_there_are_named() {
    with_gpu("refused::devices_that_are_not_there_are_named", &[("QWENC_HOST_DEVICES", "2")], || {
        let both = Both::new(&free(ROWS));
        both.gpu(&[&GENERATE[..], &["--device", "1"]].concat()).ok();
        let said = both.gpu(&[&GENERATE[..], &["--device", "2"]].concat()).refused(2);
        assert!(said.contains("--device 2") && said.contains("0 (") && said.contains("1 ("), "{said}");
    });
}

#[test]
fn a_machine_without_devices_is_no_bug() {
    with_gpu("refused::a_machine_without_devices_is_no_bug", &[("QWENC_HOST_DEVICES", "0")], || {
        let both = Both::new(&free(ROWS));
        let said = both.gpu(&GENERATE).refused(1);
        assert!(said.contains("no GPU found") && said.contains("nvidia-smi"), "{said}");
        assert!(both.gpu(&["info"]).ok().contains("no GPU found"));
    });
}

#[test]
fn architectures_without_code_are_named() {
    with_gpu("refused::architectures_without_code_are_named", &[("QWENC_HOST_SM", "75")], || {
        let both = Both::new(&free(ROWS));
        let said = both.gpu(&GENERATE).refused(1);
        assert!(
            said.contains("sm_75") && said.contains("sm_80, sm_90") && said.contains("--sm 75"),
            "{said}"
        );
        assert!(both.gpu(&["info"]).ok().contains("NO code for it here"));
    });
}

#[test]
fn newer_architectures_take_the_ptx() {
    with_gpu("refused::newer_architectures_take_the_ptx", &[("QWENC_HOST_SM", "120")], || {
        let both = Both::new(&free(ROWS));
        assert_eq!(both.gpu(&GENERATE).ok(), both.cpu(&GENERATE).ok());
        let newer = |version: &str| {
            let text = format!("//\n.version {version}\n.target sm_120\n");
            let modules = [(90, false, cubin(90)), (120, true, text.into_bytes())];
            Both::of(&free(ROWS), bundle_of(launches(), &modules))
        };
        newer("9.0").gpu(&GENERATE).ok();
        let said = newer("9.9").gpu(&GENERATE).refused(1);
        assert!(said.contains("knows CUDA 13.0") && said.contains("PTX 9.9 for sm_120"), "{said}");
    });
}

#[test]
fn what_does_not_fit_is_refused_with_both_numbers() {
    let memory = [("QWENC_HOST_MEMORY", "100000")];
    with_gpu("refused::what_does_not_fit_is_refused_with_both_numbers", &memory, || {
        let both = Both::new(&free(ROWS));
        both.gpu(&GENERATE).ok();
        let said = both.gpu(&[&GENERATE[..], &["--speculate", "64"]].concat()).refused(1);
        assert!(said.contains("0.6 MiB of GPU memory") && said.contains("0.1 MiB free"), "{said}");
        assert!(said.contains("KV cache") && said.contains("--context"), "{said}");
    });
}

#[test]
fn kernels_that_are_not_there_are_named() {
    with_gpu("refused::kernels_that_are_not_there_are_named", &[], || {
        let mut other = launches();
        other.variants[1].head[0].kernel = "tail".into();
        let both = Both::of(&free(ROWS), crate::model::bundle(other));
        let said = both.gpu(&GENERATE).refused(1);
        assert!(said.contains("no kernel tail"), "{said}");
        let mut greedy = launches();
        greedy.variants[0].head[0].shared_bytes = 300 << 10;
        let both = Both::of(&free(ROWS), crate::model::bundle(greedy));
        let said = both.gpu(&GENERATE).refused(1);
        assert!(said.contains("head takes 307200 bytes of shared memory"), "{said}");
    });
}

#[test]
fn a_logit_that_is_no_number_is_named() {
    with_gpu("refused::a_logit_that_is_no_number_is_named", &[], || {
        let mut table = free(ROWS);
        table[2] = 0x8000_0000;
        let both = Both::new(&table);
        for decode in ["graph", "launches"] {
            let said = both.gpu(&[&GENERATE[..], &["--decode", decode]].concat()).refused(1);
            assert!(said.contains("NaN as the logit of token 5"), "{said}");
        }
    });
}

#[test]
fn the_entry_point_takes_what_c_gives() {
    without_driver("refused::the_entry_point_takes_what_c_gives", || {
        let both = Both::new(&free(ROWS));
        let path = both.executable.path.to_str().unwrap();
        let main = |bundle: &[u8], args: &[&str]| {
            let args: Vec<CString> = args.iter().map(|arg| CString::new(*arg).unwrap()).collect();
            let pointers: Vec<*const c_char> = args.iter().map(|arg| arg.as_ptr()).collect();
            let (count, identity) = (args.len() as i32, &raw const both.executable.identity);
            // SAFETY: arguments as C's main has them, and a bundle that nothing is launched from.
            unsafe {
                qwenc_main_cuda(count, pointers.as_ptr(), bundle.as_ptr(), bundle.len() as c_ulong, identity)
            }
        };
        assert_eq!(main(&both.bundle, &["mock", "info", "--weights", path]), 0);
        assert_eq!(main(&both.bundle, &["mock", "generate", "a", "--weights", path]), 1);
        assert_eq!(main(&both.bundle, &["mock", "generate", "a", "--pin", "--weights", path]), 2);
        assert_eq!(main(&both.bundle[..100], &["mock", "info", "--weights", path]), 1);
        assert_eq!(main(&[], &["mock", "info", "--weights", path]), 1);
    });
}

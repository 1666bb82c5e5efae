//! NVIDIA's tools, where scripts/setup-tests.sh puts them, and what ptxas says of kernels.
//!
//! In: CUDA C++. Out: what every kernel uses, by its name. Invariant: a missing tool fails the test with the way
//! out, it skips nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use qwenc_cuda::Nvrtc;

/// A file of NVIDIA's packages.
fn tool(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/nvidia/lib");
    let pythons = std::fs::read_dir(&root).into_iter().flatten().flatten();
    let mut files = pythons.map(|python| python.path().join("site-packages/nvidia/cu13").join(name));
    let found = files.find(|file| file.exists());
    found.unwrap_or_else(|| panic!("no {name} below {}: run scripts/setup-tests.sh", root.display()))
}

/// Where NVRTC is.
pub fn nvrtc_path() -> PathBuf {
    tool("lib/libnvrtc.so.13")
}

/// NVRTC, loaded once.
pub fn nvrtc() -> &'static Nvrtc {
    static LOADED: OnceLock<Nvrtc> = OnceLock::new();
    LOADED.get_or_init(|| Nvrtc::load(&nvrtc_path()).unwrap())
}

/// What a kernel uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of stack of a thread.
    pub stack: u32,
    /// Bytes of spilled registers written.
    pub spill_stores: u32,
    /// Bytes of spilled registers read.
    pub spill_loads: u32,
    /// Bytes of static shared memory of a block.
    pub shared: u32,
}

impl Usage {
    /// Nothing goes to memory that should be in registers.
    pub fn stays_in_registers(&self) -> bool {
        self.only_stack(0)
    }

    /// No register is spilled, and arrays take at most this many bytes.
    pub fn only_stack(&self, most: u32) -> bool {
        self.stack <= most && (self.spill_stores, self.spill_loads) == (0, 0)
    }
}

/// The PTX of `source`, made by a process of its own, so that several are made at a time.
fn ptx(source: &Path, sm: u32) -> Vec<u8> {
    // Cargo builds examples with the tests, and puts them beside the folder of the tests.
    let test = std::env::current_exe().unwrap();
    let mut command = Command::new(test.parent().unwrap().with_file_name("examples").join("ptx"));
    command.arg(nvrtc_path()).arg(sm.to_string()).stdin(File::open(source).unwrap());
    let made = command.output().unwrap();
    assert!(made.status.success(), "sm_{sm}: {}", String::from_utf8_lossy(&made.stderr));
    let mut ptx = made.stdout;
    assert_eq!(ptx.pop(), Some(0), "PTX is a C string");
    ptx
}

/// What each kernel of `source` uses on one architecture.
pub fn usage(source: &str, sm: u32) -> BTreeMap<String, Usage> {
    let folder = tempfile::tempdir().unwrap();
    let (text, file) = (folder.path().join("kernels.cu"), folder.path().join("kernels.ptx"));
    std::fs::write(&text, source).unwrap();
    std::fs::write(&file, ptx(&text, sm)).unwrap();
    let mut ptxas = Command::new(tool("bin/ptxas"));
    ptxas.arg("--verbose").arg(format!("--gpu-name=sm_{sm}")).arg(&file);
    let said = ptxas.arg("--output-file").arg(folder.path().join("kernels.cubin")).output().unwrap();
    let words = String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "sm_{sm}: {words}");
    assert!(!words.contains("warning"), "sm_{sm}: {words}");
    report(&words)
}

/// Reads what `ptxas --verbose` says.
pub fn report(words: &str) -> BTreeMap<String, Usage> {
    let mut kernels: BTreeMap<String, Usage> = BTreeMap::new();
    // Properties follow the name of their function, which may be one that a kernel calls; registers that of the
    // kernel.
    let (mut kernel, mut function) = (String::new(), String::new());
    for line in words.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            kernel = rest.split('\'').next().unwrap().to_string();
            kernels.insert(kernel.clone(), Usage::default());
        } else if let Some((_, name)) = line.split_once("Function properties for ") {
            function = name.trim().to_string();
        }
        let before = |unit: &str| {
            let text = line.split_once(unit)?.0;
            text.rsplit(' ').next()?.parse::<u32>().ok()
        };
        if let (Some(stack), Some(used)) = (before(" bytes stack frame"), kernels.get_mut(&function)) {
            used.stack = stack;
            used.spill_stores = before(" bytes spill stores").unwrap();
            used.spill_loads = before(" bytes spill loads").unwrap();
        }
        if let (Some(registers), Some(used)) = (before(" registers"), kernels.get_mut(&kernel)) {
            used.registers = registers;
            used.shared = before(" bytes smem").unwrap_or(0);
        }
    }
    kernels
}

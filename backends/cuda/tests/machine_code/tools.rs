//! NVIDIA's tools, where scripts/setup-tests.sh puts them, and what ptxas says of kernels.
//!
//! In: CUDA C++. Out: what every kernel uses, by its name. Invariant: a missing tool fails the test with the way
//! out, it skips nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use qwenc_cuda::{Form, Nvrtc};

/// A file of NVIDIA's packages.
pub fn tool(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/nvidia/lib");
    let pythons = std::fs::read_dir(&root).into_iter().flatten().flatten();
    let mut files = pythons.map(|python| python.path().join("site-packages/nvidia/cu13").join(name));
    let found = files.find(|file| file.exists());
    found.unwrap_or_else(|| panic!("no {name} below {}: run scripts/setup-tests.sh", root.display()))
}

/// Path of NVRTC.
pub fn nvrtc_path() -> PathBuf {
    tool("lib/libnvrtc.so.13")
}

/// NVRTC, loaded once.
pub fn nvrtc() -> &'static Nvrtc {
    static LOADED: OnceLock<Nvrtc> = OnceLock::new();
    LOADED.get_or_init(|| Nvrtc::load(&nvrtc_path()).unwrap())
}

/// Resources of a kernel.
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

/// PTX of kernels for every architecture, from two compilations: NVRTC has one optimiser for architectures before [`NEWER`] and
/// another from there on. PTX before [`PROGRAMMATIC`] is the same without `griddepcontrol` (a test compares it).
pub struct Ptx([String; 2]);

/// First architecture with programmatic dependent launch.
const PROGRAMMATIC: u32 = 90;
/// First architecture that NVRTC has its newer optimiser for.
const NEWER: u32 = 100;

impl Ptx {
    /// Compiles `source`.
    pub fn of(source: &str) -> Ptx {
        let conditions = source.matches("__CUDA_ARCH__").count();
        assert_eq!(
            conditions,
            source.matches("#if __CUDA_ARCH__ >= 900\n    asm volatile(\"griddepcontrol.").count()
        );
        Ptx([PROGRAMMATIC, NEWER].map(|sm| {
            let mut bytes = nvrtc().compile(source, sm, Form::Ptx).unwrap().bytes;
            assert_eq!(bytes.pop(), Some(0), "PTX is a C string");
            String::from_utf8(bytes).unwrap()
        }))
    }

    /// The text for an architecture.
    pub fn text(&self, sm: u32) -> String {
        let (made, first) = if sm < NEWER { (&self.0[0], PROGRAMMATIC) } else { (&self.0[1], NEWER) };
        let text = made.replace(&format!("\n.target sm_{first}\n"), &format!("\n.target sm_{sm}\n"));
        if sm >= PROGRAMMATIC {
            return text;
        }
        text.lines().filter(|line| !line.contains("griddepcontrol.")).flat_map(|line| [line, "\n"]).collect()
    }
}

/// Kernels for one architecture: what each uses, and their machine code in a folder that goes with this.
pub struct Assembled {
    /// By the kernel's name.
    pub usage: BTreeMap<String, Usage>,
    folder: tempfile::TempDir,
}

impl Assembled {
    /// By ptxas.
    pub fn of(ptx: &Ptx, sm: u32) -> Assembled {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kernels.ptx");
        std::fs::write(&file, ptx.text(sm)).unwrap();
        let mut ptxas = Command::new(tool("bin/ptxas"));
        ptxas.arg("--verbose").arg(format!("--gpu-name=sm_{sm}")).arg(&file);
        let said = ptxas.arg("--output-file").arg(folder.path().join("kernels.cubin")).output().unwrap();
        let words =
            String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success(), "sm_{sm}: {words}");
        assert!(!words.contains("warning"), "sm_{sm}: {words}");
        Assembled { usage: report(&words), folder }
    }

    /// The machine code.
    pub fn cubin(&self) -> PathBuf {
        self.folder.path().join("kernels.cubin")
    }
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

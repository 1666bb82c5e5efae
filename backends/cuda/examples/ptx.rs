//! Compiles CUDA C++ from standard input to PTX on standard output: `ptx PATH-OF-NVRTC SM`.
//!
//! NVRTC optimises one program of a process at a time; who has several starts several of these.

use std::io::{Read, Write};
use std::path::Path;

use qwenc_cuda::{Form, Nvrtc};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(library), Some(sm)) = (args.next(), args.next()) else {
        return Err("expected the path of NVRTC and an architecture, such as 90".into());
    };
    let mut source = String::new();
    std::io::stdin().read_to_string(&mut source)?;
    let compiled = Nvrtc::load(Path::new(&library))?.compile(&source, sm.parse()?, Form::Ptx)?;
    Ok(std::io::stdout().write_all(&compiled.bytes)?)
}

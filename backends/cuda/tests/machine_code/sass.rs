//! Machine code as nvdisasm writes it.
//!
//! In: a cubin. Out: the instructions of each kernel, with what the scheduler reads beside each. Invariant: every instruction of
//! a kernel is there, in order; an unreadable line fails the test.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;

use crate::tools::tool;

/// An instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Its text, with its predicate: `@!P0 BRA`.
    pub text: String,
    /// Scoreboard that is set until its result is there.
    pub sets: Option<u32>,
    /// Scoreboards that must be clear before it is issued, a bit each.
    pub waits: u32,
    /// Target of a branch: the index of an instruction.
    pub target: Option<usize>,
}

/// The kernels of a cubin.
pub fn kernels(cubin: &Path) -> BTreeMap<String, Vec<Instruction>> {
    let mut nvdisasm = Command::new(tool("bin/nvdisasm"));
    let said = nvdisasm.args(["--print-code", "--print-instruction-encoding"]).arg(cubin).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    read(&String::from_utf8(said.stdout).unwrap())
}

/// Reads what nvdisasm writes.
pub fn read(text: &str) -> BTreeMap<String, Vec<Instruction>> {
    let mut all = BTreeMap::new();
    for section in text.split("\n.text.").skip(1) {
        let (name, lines) = section.split_once(":\n").unwrap();
        all.insert(name.to_string(), function(lines));
    }
    all
}

/// `/*0120*/ TEXT ; /* 0xLOW */`, below it `/* 0xHIGH */`; between them labels, `.L_x_1:`.
fn function(lines: &str) -> Vec<Instruction> {
    let (mut all, mut labels, mut goals) = (Vec::new(), HashMap::new(), Vec::new());
    let mut pending = None;
    for line in lines.lines() {
        let line = line.trim();
        if line.starts_with("//---") {
            break;
        }
        if let Some(label) = line.strip_suffix(':').filter(|label| label.starts_with(".L")) {
            labels.insert(label.to_string(), all.len());
        } else if let Some(text) = pending.take() {
            let (sets, waits) = control(encoding(line));
            all.push(Instruction { text, sets, waits, target: None });
        } else if let Some((_, rest)) = line.strip_prefix("/*").and_then(|rest| rest.split_once("*/")) {
            let (text, _) = rest.split_once(';').unwrap_or_else(|| panic!("an instruction, not {line:?}"));
            if let Some((_, label)) = text.split_once("`(") {
                goals.push((all.len(), label.split(')').next().unwrap().to_string()));
            }
            pending = Some(text.trim().to_string());
        }
    }
    for (at, label) in goals {
        all[at].target = labels.get(&label).copied();
    }
    all
}

fn encoding(line: &str) -> u64 {
    let hex = line.trim_start_matches("/* 0x").trim_end_matches("*/").trim();
    u64::from_str_radix(hex, 16).unwrap_or_else(|_| panic!("the second half of an encoding, not {line:?}"))
}

/// The scoreboards in the upper half of an encoding: from bit 41 on 4 bits of cycles to stall, one to yield, 3 of the scoreboard
/// that the result clears (7 for none), 3 of the one that is cleared once the operands are read, 6 to wait for.
fn control(high: u64) -> (Option<u32>, u32) {
    let sets = (high >> 46 & 7) as u32;
    ((sets < 6).then_some(sets), (high >> 52 & 63) as u32)
}

#[test]
fn scoreboards_are_read() {
    let text = "
.text.k:
        /*0000*/                   LDG.E R10, desc[UR6][R4.64] ;           /* 0x00000006040a7981 */
                                                                           /* 0x000ea2000c1e1900 */
.L_x_1:
        /*0010*/                   FADD R15, R10, R10 ;                    /* 0x0000000a0a0f7221 */
                                                                           /* 0x004fca0000000000 */
        /*0020*/              @!P1 BRA `(.L_x_1) ;                         /* 0x00000000006c9947 */
                                                                           /* 0x000fea0003800000 */
.L_x_2:
//--------------------- .text.other --------------------------
";
    let instruction =
        |text: &str, sets, waits, target| Instruction { text: text.into(), sets, waits, target };
    let expected = vec![
        instruction("LDG.E R10, desc[UR6][R4.64]", Some(2), 0, None),
        instruction("FADD R15, R10, R10", None, 4, None),
        instruction("@!P1 BRA `(.L_x_1)", None, 0, Some(1)),
    ];
    assert_eq!(read(text), BTreeMap::from([("k".to_string(), expected)]));
}

//! Weights that lie beyond 4 GiB of the executable's own file: no offset is cut to 32 bits.
//!
//! The file is sparse, so it needs no more room on the disk than the sample does.

use std::os::unix::fs::MetadataExt;

use qwenc_abi::Identity;
use qwenc_costs::Machine;
use qwenc_ir::verify;
use qwenc_link::{Content, Form, Linker, Product, Weights};
use qwenc_llvm::{emit, emit_entry, Cpu, Entry};
use qwenc_models::{Checkpoint, Model};
use qwenc_opt::{optimise, Limits};
use qwenc_plan::{lower, Dictionaries, Options};
use qwenc_target::NoDevice;
use qwenc_tests::golden::{answers, greedy, say};
use qwenc_tests::variants::folder;

const RESERVE: u64 = (4 << 30) + (1 << 20);

#[test]
fn are_read_where_they_are() {
    let folder = folder();
    let output = folder.join("qwen");
    let model = Model::of_checkpoint(Checkpoint::sample(), None).unwrap();

    let graph = verify(model.graph().unwrap()).unwrap();
    let graph = optimise(&graph, &NoDevice, &Machine::cpu_default(), &Limits::default()).unwrap().graph;
    let cpu = Cpu::named("native").unwrap();
    let plan = lower(&graph, &cpu, &Options { reserve: RESERVE, ..Options::default() }).unwrap();
    assert!(
        plan.segments.iter().all(|s| s.home.per_layer() || s.offset >= RESERVE)
            && plan.layers_offset >= RESERVE
    );
    let artifact = emit(&plan, &cpu).unwrap();
    let executable = Product::new(&output, Form::Static, Linker::Any).unwrap();
    let entry = emit_entry(&Identity::unpacked(artifact.code_id), Entry::Main).unwrap();
    let linked = executable.link(&[&entry, &artifact.object], artifact.code_id).unwrap();
    let tokenizer = model.side_files().tokenizer_json.as_ref().unwrap().as_bytes();
    let dictionaries = &Dictionaries::default();
    let content = Content { plan: &plan, source: &model, dictionaries, tokenizer, metadata: b"{}" };
    linked.finish(&content, Weights::Embed, &mut |_| {}).unwrap();

    let about = output.metadata().unwrap();
    assert!(about.len() > RESERVE, "{} bytes", about.len());
    assert!(about.blocks() * 512 < 64 << 20, "the file is not sparse: {} blocks", about.blocks());
    let answer = &answers()[0];
    let n = answer.ids.len().to_string();
    assert_eq!(greedy(&output, &answer.prompt_ids, &["--max-tokens", &n]), answer.ids);
    let said = say(&output, &["generate", "The capital of Brazil is", "--max-tokens", "2"]).ok();
    assert_eq!(said, " Brasília.\n");
    std::fs::remove_dir_all(&folder).unwrap();
}

//! The IR as people read it: names of values, comments above functions; and LLVM reads it still.

use inkwell::context::Context;
use inkwell::memory_buffer::MemoryBuffer;
use qwenc_formats::{DType, Operand};
use qwenc_ir::Checked;
use qwenc_llvm::{emit_ir, Cpu};
use qwenc_plan::{Activations, Plan};

use crate::{planned, Case, KINDS};
use qwenc_testing::shapes::{adapted, ODD, ODDER};

/// Plans with every type of weights and inputs, and with adapters.
fn plans() -> Vec<Checked<Plan>> {
    let mut all: Vec<_> = KINDS.iter().map(|&kind| Case::of(kind, 0.0).plan(ODDER)).collect();
    all.push(planned(&adapted(ODD, DType::F32, (4, 2)), Activations::Default, false));
    all
}

/// The IR of every plan for CPUs with different vectors.
fn each(check: impl Fn(&Plan, &str)) {
    for plan in plans() {
        for cpu in ["x86-64-v3", "cooperlake"].map(|name| Cpu::named(name).unwrap()) {
            if cpu.reads(Operand::Bf12) || !plan.segments.iter().any(|s| s.format == Operand::Bf12) {
                check(&plan, &emit_ir(&plan, &cpu).unwrap());
            }
        }
    }
}

/// Lines as they are without comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.split(';').next()).filter(|line| !line.is_empty())
}

#[test]
fn llvm_reads_the_text_with_its_comments() {
    each(|_, text| {
        let cx = Context::create();
        let bytes = [text.as_bytes(), b"\0"].concat();
        let module =
            cx.create_module_from_ir(MemoryBuffer::create_from_memory_range_copy(&bytes, "model")).unwrap();
        module.verify().unwrap();
        let again = module.print_to_string().to_string();
        let differs = lines(text).zip(lines(&again)).find(|(written, read)| written != read);
        assert_eq!(differs, None);
        assert_eq!(lines(text).count(), lines(&again).count());
    });
}

/// The comment lines just above a line that begins so.
fn comment_above<'a>(text: &'a str, definition: &str) -> Vec<&'a str> {
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.starts_with(definition));
    let at = at.unwrap_or_else(|| panic!("nothing begins with {definition:?}"));
    let first = lines[..at].iter().rposition(|line| !line.starts_with(';')).map_or(0, |before| before + 1);
    lines[first..at].to_vec()
}

#[test]
fn comments_say_which_kernel_of_the_plan_a_function_is() {
    each(|plan, text| {
        assert!(text.starts_with("; The kernels of model \"test\" for CPU "));
        let lines = plan.to_string();
        let line_of =
            |id: &str| lines.lines().map(str::trim_start).find(|l| l.split(' ').take(2).any(|w| w == id));
        for (number, kernel) in plan.kernels() {
            let definition = format!("define internal void @k{number}_{}(", kernel.name());
            let comment = comment_above(text, &definition);
            let line = line_of(&format!("k{number}")).unwrap();
            assert!(comment.contains(&format!("; {line}").as_str()), "{line} is not in {comment:#?}");
            for (_, value) in line.split(' ').filter_map(|word| word.split_once('=')) {
                let is_memory = |line: &&str| line.starts_with("buffer ") || line.starts_with("segment ");
                for line in value.split(',').filter_map(line_of).filter(is_memory) {
                    let line = format!(";   {line}");
                    assert!(comment.contains(&line.as_str()), "{line} is not in {comment:#?}");
                }
            }
        }
        for (definition, comment) in [
            ("define internal void @qwenc_step(", "; The step function"),
            ("@qwenc_model = ", "; The model's description"),
        ] {
            assert!(comment_above(text, definition).iter().any(|line| line.starts_with(comment)));
        }
    });
}

#[test]
fn what_a_reader_looks_for_has_a_name() {
    each(|plan, text| {
        for definition in text.lines().filter(|line| line.starts_with("define ")) {
            let layer = if definition.contains("@qwenc_step(") { "" } else { "i64 %layer, " };
            let parameters = format!("(ptr %args, {layer}i64 %thread) ");
            assert!(definition.contains(&parameters), "{definition}");
        }
        let is_number = |name: &str| name.bytes().all(|b| b.is_ascii_digit());
        for line in text.lines() {
            let variable = line.split_once(" = alloca ").map(|(name, _)| name.trim_start_matches("  %"));
            let block = line.split_once(':').filter(|_| !line.starts_with([' ', ';'])).map(|(name, _)| name);
            assert!(!variable.or(block).is_some_and(is_number), "{line}");
            // These names are tensors of the plan.
            let value = line.split_once(" = ").and_then(|(name, _)| name.trim_start().strip_prefix("%w"));
            assert!(!value.is_some_and(is_number), "{line}");
        }
        let buffers = plan.buffers.iter().enumerate().map(|(i, b)| format!("  %b{i}.{} = ", b.name));
        let fields =
            ["n_rows", "threads", "arena", "weights", "barrier"].map(|field| format!("  %{field} = load "));
        let loops = ["layer", "row", "panel", "token", "unit"];
        let loops = loops.iter().flat_map(|name| {
            [format!("\n{name}.loop:"), format!("\n{name}.body:"), format!("\n{name}.after:")]
        });
        let inner = ["sums = alloca", "sum0.lo = ", "w.lo = ", "x = "].map(|name| format!("  %{name}"));
        for name in buffers.chain(fields).chain(loops).chain(inner).chain([".q.k.v = ".to_string()]) {
            assert!(text.contains(&name), "{name:?} is not there");
        }
    });
}

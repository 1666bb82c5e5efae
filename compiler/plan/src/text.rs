//! The text form of a plan: `Display`, and [`parse`] back.
//!
//! In: a plan. Out: one line per weight, segment, buffer and kernel, as `key=value` fields.
//! Invariant: parsing what was printed gives an equal plan.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use qwenc_ir::{Eps, Graph, ParseError, WeightId};

use crate::plan::{
    Attention, Buffer, BufferId, Dest, Embed, Kernel, LastHiddenState, LayerGroup, Linear, Plan, PrepareQkv,
    SelectAdapter, Swiglu,
};
use crate::segment::{Home, Layout, Segment, SegmentId};

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut model = Graph::new(&self.name, self.dims, self.rope);
        model.weights.clone_from(&self.weights);
        let text = model.to_string();
        // The graph's header is the plan's; its empty sections are not.
        f.write_str(text.split("prologue {").next().unwrap_or_default())?;
        writeln!(f, "image layers_offset={} weights_bytes={}", self.layers_offset, self.weights_bytes)?;
        for (i, s) in self.segments.iter().enumerate() {
            write_segment(f, i, s)?;
        }
        writeln!(f, "arena row_bytes={}", self.row_bytes)?;
        for (i, b) in self.buffers.iter().enumerate() {
            write!(f, "buffer b{i} name={} width={}", b.name, b.width)?;
            let (first, last) = b.live;
            writeln!(f, " row_bytes={} offset={} live={first}..{last}", b.row_bytes, b.offset)?;
        }
        write!(f, "hidden state={}", self.hidden.state)?;
        field(f, "gain", self.hidden.gain)?;
        writeln!(f)?;
        let head = self.layer_kernels().end;
        for (i, kernel) in self.kernels() {
            let group = self.group_of(i).filter(|&group| self.block_range(group).start == i);
            if let Some(LayerGroup { layers, window, record_bytes, .. }) =
                group.map(|g| &self.groups[g as usize])
            {
                write!(f, "layers {layers}")?;
                field(f, "window", *window)?;
                writeln!(f, " record_bytes={record_bytes}")?;
            }
            if i == head {
                writeln!(f, "head")?;
            }
            write_kernel(f, i, kernel)?;
        }
        Ok(())
    }
}

fn write_segment(f: &mut Formatter<'_>, i: usize, s: &Segment) -> fmt::Result {
    let parts: Vec<String> = s.parts.iter().map(WeightId::to_string).collect();
    write!(f, "segment w{i} {} layout={} parts={}", s.format, s.layout.name(), parts.join(","))?;
    if let Some(gain) = s.gain {
        write!(f, " gain={gain}")?;
    }
    write!(f, " rows={} cols={}", s.rows, s.cols)?;
    field(f, "spans", Some(s.spans).filter(|&spans| spans > 1))?;
    write!(f, " in={} offset={}", s.home, s.offset)?;
    writeln!(f, " bytes={}", s.bytes())
}

fn write_kernel(f: &mut Formatter<'_>, i: u32, kernel: &Kernel) -> fmt::Result {
    write!(f, "  k{i} {}", kernel.name())?;
    match kernel {
        Kernel::Embed(e) => write!(f, " table={} out={} rope={}", e.table, e.out, e.rope)?,
        Kernel::PrepareQkv(p) => {
            write!(f, " qkv={} rope={} eps={}", p.qkv, p.rope, p.eps)?;
            field(f, "q_gain", p.q_gain)?;
            field(f, "k_gain", p.k_gain)?;
        }
        Kernel::Attention(a) => write!(f, " q={} out={}", a.q, a.out)?,
        Kernel::SelectAdapter(s) => {
            write!(f, " columns={} rank={} adapters={}", s.columns, s.rank, s.adapters)?;
        }
        Kernel::Swiglu(s) => write!(f, " input={} out={}", s.input, s.out)?,
        Kernel::Linear(l) => {
            write!(f, " input={} weight={}", l.input, l.weight)?;
            field(f, "norm", l.norm)?;
            field(f, "gain", l.gain)?;
            field(f, "bias", l.bias)?;
            field(f, "residual", l.residual)?;
            write!(f, " inputs={}", l.inputs)?;
            field(f, "scratch", l.scratch)?;
            match l.out {
                Dest::Buffer(b) => write!(f, " out={b}")?,
                Dest::Logits => write!(f, " out=logits")?,
            }
            field(f, "first", Some(l.first).filter(|&first| first > 0))?;
        }
    }
    writeln!(f)
}

fn field(f: &mut Formatter<'_>, key: &str, value: Option<impl Display>) -> fmt::Result {
    match value {
        Some(v) => write!(f, " {key}={v}"),
        None => Ok(()),
    }
}

type Parsed<T> = Result<T, String>;

/// Parses the text form. Not checked: make a `Checked<Plan>` of it.
pub fn parse(text: &str) -> Result<Plan, ParseError> {
    let is_header = |l: &str| ["graph", "dims", "rope", "weight"].contains(&first_word(l));
    let header_lines = text.lines().take_while(|l| is_header(l)).count();
    let header: String = text.lines().take(header_lines).map(|l| format!("{l}\n")).collect();
    let model = qwenc_ir::parse(&format!("{header}head {{\n}}\n"))?;
    let mut plan = Plan::of_model(&model);
    let mut place = Place::Prologue;
    for (i, line) in text.lines().enumerate().skip(header_lines) {
        line_of(&mut plan, &mut place, line.trim()).map_err(|what| ParseError { line: i + 1, what })?;
    }
    Ok(plan)
}

enum Place {
    Prologue,
    Block,
    Head,
}

fn first_word(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

fn line_of(plan: &mut Plan, place: &mut Place, line: &str) -> Parsed<()> {
    let fields = Fields::of(line);
    match first_word(line) {
        "" => {}
        "image" => {
            plan.layers_offset = fields.get("layers_offset")?;
            plan.weights_bytes = fields.get("weights_bytes")?;
        }
        "arena" => plan.row_bytes = fields.get("row_bytes")?,
        "segment" => plan.segments.push(segment(&fields)?),
        "buffer" => plan.buffers.push(buffer(&fields)?),
        "hidden" => {
            plan.hidden = LastHiddenState { state: fields.buffer("state")?, gain: fields.segment("gain")? }
        }
        "layers" => {
            let title: Vec<&str> =
                line.split(' ').skip(1).filter(|w| !w.starts_with("record_bytes=")).collect();
            let (layers, window) = qwenc_ir::layer_group(&title.join(" "))?;
            let record_bytes = fields.get("record_bytes")?;
            plan.groups.push(LayerGroup { layers, window, record_bytes, block: Vec::new() });
            *place = Place::Block;
        }
        "head" => *place = Place::Head,
        _ => {
            let kernel = kernel(&fields)?;
            match place {
                Place::Prologue => plan.prologue.push(kernel),
                // A group was pushed where this place was entered.
                Place::Block => plan.groups.iter_mut().last().into_iter().for_each(|g| g.block.push(kernel)),
                Place::Head => plan.head.push(kernel),
            }
        }
    }
    Ok(())
}

/// A line's words and its `key=value` fields.
struct Fields<'a> {
    words: Vec<&'a str>,
    values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Fields<'a> {
    fn of(line: &'a str) -> Fields<'a> {
        let words = line.split(' ').filter(|w| !w.contains('=')).collect();
        Fields { words, values: line.split(' ').filter_map(|w| w.split_once('=')).collect() }
    }

    fn text(&self, key: &str) -> Parsed<&'a str> {
        self.values.get(key).copied().ok_or_else(|| format!("{key}= is missing"))
    }

    fn get<T: FromStr>(&self, key: &str) -> Parsed<T> {
        let text = self.text(key)?;
        text.parse().map_err(|_| format!("{key}: expected a number, found {text:?}"))
    }

    /// The number behind a prefix such as `b` or `w`, if the field is there.
    fn id(&self, key: &str, prefix: &str) -> Parsed<Option<u32>> {
        self.values.get(key).map(|text| id(text, prefix)).transpose()
    }

    fn buffer(&self, key: &str) -> Parsed<BufferId> {
        id(self.text(key)?, "b").map(BufferId)
    }

    fn segment(&self, key: &str) -> Parsed<Option<SegmentId>> {
        Ok(self.id(key, "w")?.map(SegmentId))
    }

    fn eps(&self, key: &str) -> Parsed<Option<Eps>> {
        self.values.contains_key(key).then(|| self.get(key).map(Eps::new)).transpose()
    }
}

fn id(text: &str, prefix: &str) -> Parsed<u32> {
    let number = text.strip_prefix(prefix).and_then(|n| n.parse().ok());
    number.ok_or_else(|| format!("expected {prefix} and a number, found {text:?}"))
}

fn segment(f: &Fields) -> Parsed<Segment> {
    let format = f.words.get(2).and_then(|w| w.parse().ok()).ok_or("expected a format of weights")?;
    let layout = match f.text("layout")? {
        "vector" => Layout::Vector,
        "panels" => Layout::Panels,
        "paired" => Layout::PairedPanels,
        "diagonal" => Layout::Diagonal,
        other => return Err(format!("expected vector, panels, paired or diagonal, found {other:?}")),
    };
    let parts: Parsed<Vec<WeightId>> =
        f.text("parts")?.split(',').map(|p| id(p, "@").map(WeightId)).collect();
    Ok(Segment {
        parts: parts?,
        gain: f.id("gain", "@")?.map(WeightId),
        format,
        rows: f.get("rows")?,
        cols: f.get("cols")?,
        layout,
        spans: if f.values.contains_key("spans") { f.get("spans")? } else { 1 },
        home: home(f.text("in")?)?,
        offset: f.get("offset")?,
    })
}

/// `image`, or `layers0` for the first layer group.
fn home(text: &str) -> Parsed<Home> {
    match text {
        "image" => Ok(Home::Model),
        group => id(group, "layers").map(Home::Layers),
    }
}

fn buffer(f: &Fields) -> Parsed<Buffer> {
    let live = f.text("live")?.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    Ok(Buffer {
        name: f.text("name")?.to_string(),
        width: f.get("width")?,
        row_bytes: f.get("row_bytes")?,
        offset: f.get("offset")?,
        live: live.ok_or("live: expected first..last")?,
    })
}

fn kernel(f: &Fields) -> Parsed<Kernel> {
    let name = f.words.get(1).copied().unwrap_or_default();
    match name {
        "embed" => {
            let table = f.segment("table")?.ok_or("table= is missing")?;
            Ok(Kernel::Embed(Embed { table, out: f.buffer("out")?, rope: f.buffer("rope")? }))
        }
        "prepare_qkv" => Ok(Kernel::PrepareQkv(PrepareQkv {
            qkv: f.buffer("qkv")?,
            rope: f.buffer("rope")?,
            eps: f.eps("eps")?.ok_or("eps= is missing")?,
            q_gain: f.segment("q_gain")?,
            k_gain: f.segment("k_gain")?,
        })),
        "attention" => Ok(Kernel::Attention(Attention { q: f.buffer("q")?, out: f.buffer("out")? })),
        "select_adapter" => Ok(Kernel::SelectAdapter(SelectAdapter {
            columns: f.buffer("columns")?,
            rank: f.get("rank")?,
            adapters: f.get("adapters")?,
        })),
        "join_swiglu" => Ok(Kernel::Swiglu(Swiglu { input: f.buffer("input")?, out: f.buffer("out")? })),
        _ => {
            let linear = linear(f, name.contains("swiglu"))?;
            let kernel = Kernel::Linear(linear);
            match kernel.name() == name {
                true => Ok(kernel),
                false => Err(format!("unknown kernel {name:?}; its fields make {:?}", kernel.name())),
            }
        }
    }
}

fn linear(f: &Fields, swiglu: bool) -> Parsed<Linear> {
    let out = match f.text("out")? {
        "logits" => Dest::Logits,
        b => Dest::Buffer(BufferId(id(b, "b")?)),
    };
    Ok(Linear {
        input: f.buffer("input")?,
        norm: f.eps("norm")?,
        gain: f.segment("gain")?,
        weight: f.segment("weight")?.ok_or("weight= is missing")?,
        bias: f.segment("bias")?,
        residual: f.id("residual", "b")?.map(BufferId),
        inputs: f.text("inputs")?.parse().map_err(|()| "inputs: expected f32, bf16, int8 or int16")?,
        swiglu,
        scratch: f.id("scratch", "b")?.map(BufferId),
        out,
        first: if f.values.contains_key("first") { f.get("first")? } else { 0 },
    })
}

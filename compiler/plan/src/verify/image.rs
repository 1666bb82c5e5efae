//! The laws of the packed image. In: any plan. Out: the first law of its layer groups and packed tensors that it breaks.

use qwenc_formats::Operand;
use qwenc_ir::WeightId;

use super::{segments, PlanError};
use crate::plan::Plan;
use crate::segment::{Home, Layout, Segment, SegmentId};
use crate::spans;

/// Checks layer groups, then packed tensors.
pub(super) fn check(plan: &Plan) -> Result<(), PlanError> {
    check_groups(plan)?;
    check_segments(plan)
}

fn check_segments(plan: &Plan) -> Result<(), PlanError> {
    for (i, s) in plan.segments.iter().enumerate() {
        let what = format!("w{i}");
        for w in s.parts.iter().chain(&s.gain) {
            if plan.weights.get(w.0 as usize).is_none() {
                return Err(PlanError::Undefined { what: w.to_string() });
            }
        }
        check_parts(plan, s).map_err(|law| PlanError::Segment { segment: SegmentId(i as u32), law })?;
        let limit = match s.home {
            Home::Model => plan.layers_offset,
            Home::Layers(group) => plan.groups.get(group as usize).map_or(0, |group| group.record_bytes),
        };
        let (offset, bytes) = (s.offset, s.bytes());
        if offset % 64 != 0 || bytes > limit || offset > limit - bytes {
            return Err(PlanError::Place { what, offset, bytes, limit });
        }
        for (j, o) in plan.segments[..i].iter().enumerate() {
            if o.home == s.home && offset < o.offset + o.bytes() && o.offset < offset + bytes {
                return Err(PlanError::Overlap { a: format!("w{j}"), b: what });
            }
        }
    }
    let records = plan.groups.iter().map(|g| u64::from(g.layers.count()) * g.record_bytes).sum();
    match plan.weights_bytes == plan.layers_offset + records {
        true => Ok(()),
        false => {
            let (what, offset) = ("layers".to_string(), plan.layers_offset);
            Err(PlanError::Place { what, offset, bytes: records, limit: plan.weights_bytes })
        }
    }
}

/// Every layer is in one group, and a group's kernels read no other group's records.
fn check_groups(plan: &Plan) -> Result<(), PlanError> {
    let mut layers: Vec<u32> = plan.groups.iter().flat_map(|group| group.layers.iter()).collect();
    layers.sort_unstable();
    if !layers.into_iter().eq(0..plan.dims.layers) {
        return Err(PlanError::Form { what: "every layer is in one layer group" });
    }
    for (number, kernel) in plan.kernels() {
        let group = plan.group_of(number);
        let foreign = |id: &SegmentId| {
            let home = plan.segments.get(id.0 as usize).map(|s| s.home);
            home.is_some_and(|home| home.per_layer() && home.group() != group)
        };
        if let Some(id) = segments(kernel).into_iter().find(foreign) {
            return Err(PlanError::Segment {
                segment: id,
                law: "is read by kernels of its layer group alone",
            });
        }
    }
    Ok(())
}

/// A segment holds exactly the rows of its parts.
fn check_parts(plan: &Plan, s: &Segment) -> Result<(), &'static str> {
    let shape = |w: &WeightId| plan.weights[w.0 as usize].shape.as_slice();
    let sum = |f: fn(&[u32]) -> u32| s.parts.iter().map(|w| u64::from(f(shape(w)))).sum::<u64>();
    let law = |holds: bool, law: &'static str| if holds { Ok(()) } else { Err(law) };
    let axes = if s.layout == Layout::Vector { 1 } else { 2 };
    law(!s.parts.is_empty(), "has at least one part")?;
    law(s.parts.iter().all(|w| shape(w).len() == axes), "joins vectors, or matrices")?;
    let layers = |w: &WeightId| plan.weights[w.0 as usize].per_layer() == s.home.per_layer();
    law(s.parts.iter().chain(&s.gain).all(layers), "is per-layer like its parts")?;
    if let Some(gain) = &s.gain {
        let takes = s.format == Operand::F32 && s.layout != Layout::Vector;
        law(takes, "takes in a gain only as a matrix of f32")?;
        law(shape(gain) == [s.cols], "has a gain as long as its rows")?;
    }
    let cut = s.layout == Layout::Panels && s.gain.is_none() && s.spans == spans::count(s.format, s.cols);
    law(s.spans == 1 || cut, "is whole, or cut into the spans of its columns")?;
    match s.layout {
        Layout::Vector => {
            law(sum(|shape| shape[0]) == u64::from(s.cols) && s.rows == 1, "is as long as its parts")?;
            law(s.format == Operand::F32, "holds vectors as f32")
        }
        _ => {
            law(sum(|shape| shape[0]) == u64::from(s.rows), "has the rows of its parts")?;
            let columns = match s.layout {
                Layout::Diagonal => sum(|shape| shape[1]) == u64::from(s.cols),
                _ => s.parts.iter().all(|w| shape(w)[1] == s.cols),
            };
            law(columns, "has the columns of its parts")?;
            let plain = s.format == Operand::F32 && s.gain.is_none();
            law(s.layout != Layout::Diagonal || plain, "joins on a diagonal only f32, and without a gain")?;
            let dtype = |w: &WeightId| s.format.packs(plan.weights[w.0 as usize].dtype);
            law(s.parts.iter().all(dtype), "has the type of its parts")?;
            let pair = s.parts.len() == 2 && shape(&s.parts[0]) == shape(&s.parts[1]);
            law(s.layout != Layout::PairedPanels || pair, "pairs two parts of one shape")
        }
    }
}

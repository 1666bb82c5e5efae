//! The launches of one step, in order.
//!
//! In: the kernels and a step's argument. Out: launches on the stream. Invariant: prologue, for each layer the
//! block of its group, and the head if outputs are wanted; a launch whose grid comes to nothing is left out.

use std::ffi::c_void;

use cudarc::driver::result;
use cudarc::driver::sys::{self, CUstream};
use qwenc_abi::{Blocks, CudaStep, Of};

use super::driver::refused;
use super::modules::{Kernels, Launch};
use crate::error::{Error, Result};

/// Most blocks in x, y and z.
const MOST: [u64; 3] = [i32::MAX as u64, 65_535, 65_535];

/// Blocks of `dimension` for this step.
fn blocks(dimension: &Blocks, step: &CudaStep) -> u64 {
    let of = match dimension.of {
        Of::One => 1,
        Of::Rows => u64::from(step.n_rows),
        Of::Outputs => u64::from(step.n_outputs),
    };
    // No tile is 0: the bundle was checked.
    of.div_ceil(u64::from(dimension.tile.max(1))).saturating_mul(u64::from(dimension.times))
}

/// The grid of a launch; `None` where there is nothing to do.
fn grid(dimensions: &[Blocks; 3], kernel: &str, step: &CudaStep) -> Result<Option<[u32; 3]>> {
    let counts = [0, 1, 2].map(|i| blocks(&dimensions[i], step));
    if counts.contains(&0) {
        return Ok(None);
    }
    if counts.iter().zip(MOST).any(|(&count, most)| count > most) {
        return Err(Error::Usage(format!(
            "{kernel} would need {counts:?} blocks for {} rows, which no GPU takes; lower --chunk",
            step.n_rows
        )));
    }
    Ok(Some(counts.map(|count| count as u32)))
}

/// Launches the kernels of a step on the stream; `layer_groups` has the group of each layer, `after` is called with the name of each. With
/// `programmatic`, all launches but the first are programmatic dependent launches, where their kernels wait for the one before.
///
/// # Safety
/// The step must keep to the contract of [`CudaStep`] until it is done.
pub(super) unsafe fn step(
    kernels: &Kernels,
    layer_groups: &[u32],
    step: &CudaStep,
    programmatic: bool,
    stream: CUstream,
    after: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    let rows = kernels.variant(step.n_rows as usize);
    let outputs = kernels.variant(step.n_outputs as usize);
    let once = CudaStep { layer: 0, ..*step };
    let mut all = |launches: &[Launch], step: &CudaStep, mut is_first: bool| {
        launches.iter().try_for_each(|l| {
            let Some(grid) = grid(&l.grid, &l.kernel, step)? else { return Ok(()) };
            let narrow = grid[0].min(l.columns.unwrap_or(grid[0]));
            // SAFETY: by the caller's promise.
            unsafe { launch(l, [narrow, grid[1], grid[2]], step, programmatic && !is_first, stream)? };
            is_first = false;
            after(&l.kernel)
        })
    };
    all(&rows.prologue, &once, true)?;
    for (layer, &group) in (0..).zip(layer_groups) {
        all(&rows.blocks[group as usize], &CudaStep { layer, ..*step }, false)?;
    }
    match step.n_outputs {
        0 => Ok(()),
        _ => all(&outputs.head, &once, false),
    }
}

/// Launches the persistent kernel, which is a whole step of one row and one output.
///
/// # Safety
/// The step must keep to the contract of [`CudaStep`] until it is done.
pub(super) unsafe fn persistent(kernels: &Kernels, step: &CudaStep, stream: CUstream) -> Result<()> {
    match &kernels.persistent {
        // SAFETY: by the caller's promise.
        Some((launch, blocks)) => unsafe { cooperative(launch, *blocks, step, stream) },
        None => Ok(()),
    }
}

/// Cooperative launch of `blocks` blocks, which the device must hold at once.
///
/// # Safety
/// The step must keep to the contract of [`CudaStep`] until it is done.
pub(super) unsafe fn cooperative(
    launch: &Launch,
    blocks: u32,
    step: &CudaStep,
    stream: CUstream,
) -> Result<()> {
    let mut step = *step;
    let mut arguments = [(&raw mut step).cast::<c_void>()];
    let (grid, threads, shared) = ((blocks, 1, 1), (launch.threads, 1, 1), launch.shared_bytes);
    // SAFETY: the function takes one CudaStep by value, which the driver copies now; the rest is the caller's promise.
    unsafe {
        result::launch_cooperative_kernel(launch.function, grid, threads, shared, stream, &mut arguments)
    }
    .map_err(refused("launch a kernel"))
}

/// Launch of a kernel with the given grid; a programmatic dependent launch with `programmatic`, where the kernel waits for the
/// launch before.
///
/// # Safety
/// The step must keep to the contract of [`CudaStep`] until it is done.
pub(super) unsafe fn launch(
    l: &Launch,
    [x, y, z]: [u32; 3],
    step: &CudaStep,
    programmatic: bool,
    stream: CUstream,
) -> Result<()> {
    let mut step = *step;
    let mut arguments = [(&raw mut step).cast::<c_void>()];
    let shared = l.shared_bytes;
    // SAFETY (both): the function takes one CudaStep by value, which the driver copies now; the rest is the caller's
    // promise.
    let done = if programmatic && l.waits {
        let mut attribute = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: l.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: shared,
            hStream: stream,
            attrs: &raw mut attribute,
            numAttrs: 1,
        };
        let nothing = std::ptr::null_mut();
        unsafe { sys::cuLaunchKernelEx(&raw const config, l.function, arguments.as_mut_ptr(), nothing) }
            .result()
    } else {
        let threads = (l.threads, 1, 1);
        unsafe { result::launch_kernel(l.function, (x, y, z), threads, shared, stream, &mut arguments) }
    };
    done.map_err(refused("launch a kernel"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Blocks {
        Blocks { times: 1, of: Of::One, tile: 1 }
    }

    #[test]
    fn grids_count_what_the_step_has() {
        let step = CudaStep { n_rows: 17, n_outputs: 2, ..CudaStep::default() };
        let of = |times, of, tile| blocks(&Blocks { times, of, tile }, &step);
        assert_eq!(of(5, Of::One, 1), 5);
        assert_eq!([1, 8, 16, 17, 18].map(|tile| of(3, Of::Rows, tile)), [51, 9, 6, 3, 3]);
        assert_eq!(of(152, Of::Outputs, 1), 304);
        let all = [Blocks { times: 3, of: Of::Rows, tile: 8 }, one(), Blocks { times: 4, ..one() }];
        assert_eq!(grid(&all, "k", &step).unwrap(), Some([9, 1, 4]));
    }

    #[test]
    fn a_grid_of_nothing_is_no_launch_and_one_of_too_much_an_error() {
        let step = CudaStep { n_rows: 2, n_outputs: 0, ..CudaStep::default() };
        let nothing = Blocks { times: 7, of: Of::Outputs, tile: 1 };
        assert_eq!(grid(&[one(), nothing, one()], "k", &step).unwrap(), None);
        let never = Blocks { times: 0, ..one() };
        assert_eq!(grid(&[never, one(), one()], "k", &step).unwrap(), None);
        let many = Blocks { times: u32::MAX, of: Of::Rows, tile: 1 };
        let said = grid(&[many, one(), one()], "attention", &step).unwrap_err().to_string();
        assert!(said.contains("attention") && said.contains("--chunk"), "{said}");
        let most = Blocks { times: 65_536, ..one() };
        assert!(grid(&[most, one(), one()], "k", &step).unwrap().is_some());
        assert!(grid(&[one(), most, one()], "k", &step).is_err());
    }
}

//! Progress on standard error: bars on a terminal, or with `--verbose` a line for each phase with its time.
//!
//! In: phases. Out: bars or lines. Invariant: nothing is shown unless the command asked for it.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

static SHOWN: AtomicBool = AtomicBool::new(false);
static VERBOSE: AtomicBool = AtomicBool::new(false);

/// A phase of the work, which lasts until `finish_and_clear`.
pub struct Phase {
    bar: ProgressBar,
    what: &'static str,
    started: Instant,
}

impl Phase {
    /// Removes the bar; with `--verbose` prints how long the phase took.
    pub fn finish_and_clear(&self) {
        self.bar.finish_and_clear();
        if VERBOSE.load(Ordering::Relaxed) {
            crate::say(&format!("{}: {:.2} s", self.what, self.started.elapsed().as_secs_f64()));
        }
    }
}

impl Deref for Phase {
    type Target = ProgressBar;

    fn deref(&self) -> &ProgressBar {
        &self.bar
    }
}

/// From now on progress is shown: as bars, or as lines.
pub fn show(verbose: bool) {
    SHOWN.store(true, Ordering::Relaxed);
    VERBOSE.store(verbose, Ordering::Relaxed);
}

/// Whether notes and progress are shown.
pub fn is_shown() -> bool {
    SHOWN.load(Ordering::Relaxed)
}

fn hidden_unless_shown(bar: ProgressBar) -> ProgressBar {
    if !is_shown() || VERBOSE.load(Ordering::Relaxed) {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}

/// A bar over bytes.
pub fn bytes(what: &'static str, total: u64) -> Phase {
    let bar = hidden_unless_shown(ProgressBar::new(total));
    let template = "{msg:>10} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    // The template above is a constant that parses.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar.set_message(what);
    Phase { bar, what, started: Instant::now() }
}

/// A bar over things.
#[cfg(feature = "cuda")]
pub fn count(what: &'static str, total: u64) -> Phase {
    let bar = hidden_unless_shown(ProgressBar::new(total));
    // The template is a constant that parses.
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    Phase { bar, what, started: Instant::now() }
}

/// A spinner for steps of unknown length.
pub fn step(what: &'static str) -> Phase {
    let bar = hidden_unless_shown(ProgressBar::new_spinner());
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    Phase { bar, what, started: Instant::now() }
}

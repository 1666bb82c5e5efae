//! Progress on standard error: bars, only on a terminal.
//!
//! In: what is being done. Out: bars. Invariant: nothing is shown unless the command asked for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

static SHOWN: AtomicBool = AtomicBool::new(false);

/// From now on progress is shown.
pub fn show() {
    SHOWN.store(true, Ordering::Relaxed);
}

/// Whether it is.
pub fn is_shown() -> bool {
    SHOWN.load(Ordering::Relaxed)
}

fn hidden_unless_shown(bar: ProgressBar) -> ProgressBar {
    if !is_shown() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}

/// A bar over bytes.
pub fn bytes(what: &'static str, total: u64) -> ProgressBar {
    let bar = hidden_unless_shown(ProgressBar::new(total));
    let template = "{msg:>10} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    // The template above is a constant that parses.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar.set_message(what);
    bar
}

/// A bar over things.
#[cfg(feature = "cuda")]
pub fn count(what: &'static str, total: u64) -> ProgressBar {
    let bar = hidden_unless_shown(ProgressBar::new(total));
    // The template is a constant that parses.
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// A spinner for steps of unknown length.
pub fn step(what: &'static str) -> ProgressBar {
    let bar = hidden_unless_shown(ProgressBar::new_spinner());
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

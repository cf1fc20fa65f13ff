//! A bar for what takes long, on a terminal, for as long as it takes.
//!
//! Separate from the narrator because it is drawn from other threads while the work goes on, and because nothing of it
//! stays: what was done is told afterwards, from what was counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::style::Style;

/// What is done sooner shows no bar.
const SOON: Duration = Duration::from_millis(300);

/// A bar on stderr.
#[derive(Debug)]
pub struct Gauge {
    bar: ProgressBar,
    begun: Instant,
    shown: AtomicBool,
}

impl Gauge {
    /// A bar for stored bytes that are read; how many is said by [`Self::expect`].
    #[must_use]
    pub fn of_bytes(what: &str, style: Style) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        let (template, signs) = if style.unicode {
            ("    {msg}  {wide_bar}  {decimal_bytes} of {decimal_total_bytes}, {eta} left ", "━╸ ")
        } else {
            ("    {msg}  [{wide_bar}]  {decimal_bytes} of {decimal_total_bytes}, {eta} left ", "#- ")
        };
        // A template that cannot be read would be a mistake above: then the bar looks as its crate has it.
        if let Ok(look) = ProgressStyle::with_template(template) {
            bar.set_style(look.progress_chars(signs));
        }
        bar.set_message(what.to_owned());
        Self { bar, begun: Instant::now(), shown: AtomicBool::new(false) }
    }

    /// So much more is to come.
    pub fn expect(&self, bytes: u64) {
        self.bar.inc_length(bytes);
    }

    /// So much more is done.
    pub fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
        self.show();
    }

    /// Why it does not go on, for as long as it does not.
    pub fn wait_for(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        self.show();
    }

    fn show(&self) {
        if self.begun.elapsed() > SOON && !self.shown.swap(true, Ordering::Relaxed) {
            // Where stderr is no terminal it stays hidden.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

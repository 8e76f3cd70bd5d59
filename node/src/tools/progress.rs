//! How far a tool is: a bar on a terminal, a plain line now and then anywhere else.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Plain lines come this often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The progress of one step.
pub struct Progress {
    bar: ProgressBar,
    doing: &'static str,
    unit: &'static str,
    total: Option<u64>,
    done: u64,
    next_line: Instant,
}

/// The same for a step that tells how far it is, and how far it goes. It ends when it is dropped.
pub struct Steps {
    doing: &'static str,
    progress: Option<Progress>,
    done: u64,
}

impl Steps {
    /// Shown from the first call of [`Steps::at`].
    pub fn new(doing: &'static str) -> Self {
        Self {
            doing,
            progress: None,
            done: 0,
        }
    }

    /// So many bytes of so many are done.
    pub fn at(&mut self, done: u64, total: u64) {
        let doing = self.doing;
        self.progress
            .get_or_insert_with(|| Progress::bytes(doing, Some(total)))
            .advance(done.saturating_sub(self.done));
        self.done = done.max(self.done);
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if let Some(progress) = self.progress.take() {
            progress.finish();
        }
    }
}

impl Progress {
    /// A step that handles `total` bytes, if that is known.
    pub fn bytes(doing: &'static str, total: Option<u64>) -> Self {
        let template = match total {
            Some(_) => "{prefix} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}",
            None => "{prefix} {spinner} {bytes} {bytes_per_sec} {msg}",
        };
        Self::new(doing, "bytes", total, template)
    }

    /// A step that handles documents, nobody knows how many.
    pub fn documents(doing: &'static str) -> Self {
        Self::new(
            doing,
            "documents",
            None,
            "{prefix} {spinner} {human_pos} documents {per_sec} {msg}",
        )
    }

    fn new(doing: &'static str, unit: &'static str, total: Option<u64>, template: &str) -> Self {
        // Drawn on standard error, and only if that is a terminal.
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(doing);
        Self {
            bar,
            doing,
            unit,
            total,
            done: 0,
            next_line: Instant::now() + LINE_EVERY,
        }
    }

    /// Something more is done.
    pub fn advance(&mut self, amount: u64) {
        self.done += amount;
        self.bar.inc(amount);
        if self.bar.is_hidden() && Instant::now() >= self.next_line {
            self.next_line = Instant::now() + LINE_EVERY;
            let (doing, done, unit) = (self.doing, self.done, self.unit);
            match self.total {
                Some(total) => eprintln!("{doing}: {done} of {total} {unit}"),
                None => eprintln!("{doing}: {done} {unit}"),
            }
        }
    }

    /// The step is over.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

//! Tells what long work is doing: a line that changes on a terminal, plain lines in a log, nothing when quiet.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    Sink,
    log::{Log, Priority},
};

/// Where progress goes. Cheap to clone; tasks share one.
#[derive(Clone)]
pub struct Progress {
    target: Arc<Target>,
    log: Log,
}

enum Target {
    /// Plain lines on stderr.
    Lines(Sink),
    /// Nothing.
    Quiet,
    /// One line on a terminal that is overwritten, with a spinner.
    Terminal { bar: ProgressBar, stderr: Sink },
}

impl Progress {
    /// Returns progress that says nothing.
    pub fn quiet() -> Self {
        Self::to(Target::Quiet)
    }

    /// Returns progress as plain lines.
    pub fn lines(stderr: Sink) -> Self {
        Self::to(Target::Lines(stderr))
    }

    /// Returns progress as one changing line on a terminal.
    pub fn terminal(stderr: Sink) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        Self::to(Target::Terminal { bar, stderr })
    }

    fn to(target: Target) -> Self {
        Self {
            target: Arc::new(target),
            log: Log::none(),
        }
    }

    /// Logs events too. Where stderr is the log, nothing but events goes there.
    #[must_use]
    pub fn logging(self, log: Log) -> Self {
        let target = if log.is_journal() {
            Arc::new(Target::Quiet)
        } else {
            self.target
        };
        Self { target, log }
    }

    /// Returns where events are logged.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Logs an event of an unattended run; somebody who watches sees steps and results instead.
    pub fn event(&self, priority: Priority, text: &str) {
        self.log.event(priority, text);
    }

    /// Says what is being done now; on a terminal the next step overwrites it.
    pub fn step(&self, text: &str) {
        match &*self.target {
            Target::Quiet => {}
            Target::Lines(stderr) => stderr.line(text),
            Target::Terminal { bar, .. } => {
                bar.enable_steady_tick(Duration::from_millis(120));
                bar.set_message(text.to_owned());
            }
        }
    }

    /// Says what is being done now, for each of many; returns what counts them.
    ///
    /// The count is for who watches: it changes the line on a terminal, and no other line is written.
    pub fn tally(&self, text: &str, n_all: usize) -> Tally {
        self.step(text);
        Tally {
            progress: self.clone(),
            text: text.to_owned(),
            n_all,
            n_done: Arc::default(),
        }
    }

    /// Says what has been reached; stays on the screen.
    pub fn done(&self, text: &str) {
        for line in text.lines() {
            self.log.event(Priority::Info, line);
        }
        match &*self.target {
            Target::Quiet => {}
            Target::Lines(stderr) => stderr.line(text),
            Target::Terminal { bar, stderr } => bar.suspend(|| stderr.line(text)),
        }
    }

    /// Takes the changing line away; to be called before a result or a question is written.
    pub fn clear(&self) {
        if let Target::Terminal { bar, .. } = &*self.target {
            bar.disable_steady_tick();
            bar.set_message("");
            bar.finish_and_clear();
        }
    }
}

/// How many of many things are done. Cheap to clone; tasks share one.
#[derive(Clone)]
pub struct Tally {
    progress: Progress,
    text: String,
    n_all: usize,
    n_done: Arc<AtomicUsize>,
}

impl Tally {
    /// Returns one that nobody sees.
    pub fn quiet() -> Self {
        Progress::quiet().tally("", 0)
    }

    /// Counts one more that is done.
    pub fn add_one(&self) {
        let n_done = self.n_done.fetch_add(1, Ordering::Relaxed) + 1;
        if let Target::Terminal { bar, .. } = &*self.progress.target {
            bar.set_message(format!("{}: {n_done} of {}", self.text, self.n_all));
        }
    }
}

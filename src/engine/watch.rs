//! Watching meters while a child runs, and checking what they have shown.
//!
//! Nothing is changed meanwhile. A child whose end is waited for is heard until it has become another program or
//! has nothing more to say; then the engine sleeps between two readings, and wakes up early when the child ends
//! or a signal comes.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value as Json;

use crate::error::Error;
use crate::plan::watch::Seen;
use crate::plan::{Ending, Until, Watch};
use crate::probe::meter::{Meter, Series, Unit};
use crate::probe::seat;
use crate::report::event::{Event, Scale};
use crate::sys::Slot;
use crate::sys::process::Processes;

use super::{Engine, Flow, wait};

/// How long a child may take to end. Emulated machines are slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// The readings so far.
struct Readings {
    series: Series,
    begun: Instant,
    seen: Vec<Seen>,
    count: u32,
}

impl<K: Processes + 'static> Engine<K> {
    pub(super) fn watch(&mut self, id: &str, watch: &Watch) -> Flow {
        let child = match &watch.until {
            Until::Ended { pid, how } => Some((self.child_in(pid), *how)),
            _ => None,
        };
        if !self.kernel.is_real() {
            return self.pretend_to_watch(child.and_then(|(index, _)| index));
        }
        let index = child.and_then(|(index, _)| index);
        if let Some(index) = index {
            // What it still has to say comes first.
            while self.hear_child(index)? {}
            self.tell_exec(index);
        }
        let meters: Vec<Meter> = watch.meters.iter().map(|meter| meter.resolve(&self.slots)).collect();
        if !meters.is_empty() {
            self.emit(|engine| Event::Watch {
                step: id.to_owned(),
                actor: engine.actor.to_owned(),
                every: watch.every,
                meters: meters.iter().map(scale).collect(),
            });
        }
        let mut readings = Readings::new(meters);
        self.read_until(id, watch, index, &mut readings)?;
        if let Some((Some(index), how)) = child {
            self.ended_like_this(id, index, how)?;
        }
        self.find(id, watch, &readings)
    }

    /// The child whose pid is in this slot.
    fn child_in(&self, slot: &Slot) -> Option<usize> {
        let pid = self.slots.get(slot).and_then(|pid| i32::try_from(pid).ok())?;
        self.children.iter().position(|child| child.pid == pid)
    }

    /// A rehearsal only hears what the child still has to say.
    fn pretend_to_watch(&mut self, child: Option<usize>) -> Flow {
        if let Some(index) = child {
            while self.hear_child(index)? {}
            self.children[index].reaped = true;
        }
        Ok(())
    }

    /// Reads the meters until there is nothing to wait for any more.
    fn read_until(&mut self, id: &str, watch: &Watch, child: Option<usize>, readings: &mut Readings) -> Flow {
        let pidfd = match child.and_then(|index| self.children.get(index)) {
            Some(child) => Some(wait::open_pidfd(child.pid).map_err(|error| self.failed(id, error))?),
            None => None,
        };
        loop {
            let values = readings.read();
            // A removed group has no numbers, which would look as if nothing were used any more.
            seat::all_there(&watch.of).map_err(|error| self.failed(id, error))?;
            if !readings.series.meters.is_empty() {
                let (step, ms) = (id.to_owned(), readings.ms());
                self.emit(|engine| Event::Reading { step, actor: engine.actor.to_owned(), ms, values });
                self.observers.iter_mut().for_each(|observer| observer.flush());
            }
            if readings.is_enough(&watch.until).map_err(|error| self.failed(id, error))?
                || pidfd.as_ref().is_some_and(|fd| wait::is_readable(fd.as_raw_fd()))
            {
                return Ok(());
            }
            self.nap(readings.next(watch.every), pidfd.as_ref());
            if self.is_over(id, &watch.until)? {
                return Ok(());
            }
        }
    }

    /// Whether the person has seen enough. Any other signal than Ctrl-C ends the command, and so does it elsewhere.
    fn is_over(&mut self, id: &str, until: &Until) -> Flow<bool> {
        if !matches!(until, Until::Enough { .. }) {
            return self.check_signals().map(|()| false);
        }
        if self.seen_enough()? {
            return Ok(true);
        }
        match self.observers.iter_mut().find_map(|observer| observer.failure()) {
            None => Ok(false),
            Some(error) if error.parts().errno == Some(Errno::EPIPE as i32) => Ok(true),
            Some(error) => Err(self.failed(id, error)),
        }
    }

    /// Sleeps until the next reading is due, the child ends or a signal comes.
    fn nap(&self, until: Instant, pidfd: Option<&OwnedFd>) {
        let signals = self.signals.as_ref().map(wait::Signals::raw);
        let wanted: Vec<RawFd> = signals.into_iter().chain(pidfd.map(AsRawFd::as_raw_fd)).collect();
        let mut fds: Vec<PollFd<'_>> = wanted
            .iter()
            .map(|fd| PollFd::new(crate::sys::process::borrow(*fd), PollFlags::POLLIN))
            .collect();
        // Rounded up, or it would wake up a moment too early.
        let left = until.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
        let timeout =
            PollTimeout::try_from(i32::try_from(left).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX);
        // Interrupted, it reads a moment earlier.
        let _ = poll(&mut fds, timeout);
    }

    /// Collects the child, whose end is part of the story and not the command's result.
    fn ended_like_this(&mut self, id: &str, index: usize, how: Ending) -> Flow {
        let status = self.status;
        let text = self.collect(index);
        self.status = status;
        if text == how.to_string() {
            return Ok(());
        }
        let actor = self.children.get(index).map_or("child", |child| child.actor);
        let error = Error::new(format!("{actor} ended otherwise: {text}"))
            .rule(format!("what this step shows would be: {how}"))
            .remedy("see what it has printed; a machine that is short of memory may have ended it");
        Err(self.failed(id, error))
    }

    /// Checks what the readings have shown. Like a claim, what does not hold makes the command fail.
    fn find(&mut self, id: &str, watch: &Watch, readings: &Readings) -> Flow {
        if !self.watched {
            return Ok(());
        }
        for finding in &watch.shows {
            let text = finding.text(&readings.series.meters);
            let saw = finding.check(&readings.seen, readings.us()).err();
            self.emit(|engine| Event::Claim {
                step: id.to_owned(),
                actor: engine.actor.to_owned(),
                claim: text.clone(),
                held: saw.is_none(),
                saw: saw.clone(),
            });
            if let Some(saw) = saw {
                let error = Error::new(format!("this was not seen: {text}"))
                    .rule(format!("seen instead: {saw}"))
                    .remedy(
                        "on a machine that is busy with something else it may show itself less: try again",
                    );
                return Err(self.failed(id, error));
            }
        }
        Ok(())
    }
}

impl Readings {
    fn new(meters: Vec<Meter>) -> Self {
        let seen = vec![Seen::default(); meters.len()];
        Self { series: Series::new(meters), begun: Instant::now(), seen, count: 0 }
    }

    /// Reads every meter; what is told of it.
    fn read(&mut self) -> Json {
        let (numbers, shown) = self.series.read();
        for (seen, number) in self.seen.iter_mut().zip(&numbers) {
            seen.take(*number);
        }
        self.count += 1;
        shown
    }

    fn ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The time between the first reading and the last.
    fn us(&self) -> u64 {
        let last = self.series.last().unwrap_or(self.begun);
        u64::try_from(last.duration_since(self.begun).as_micros()).unwrap_or(u64::MAX)
    }

    /// When the next reading is due. What was missed while the command was stopped is not made up for.
    fn next(&self, every: u32) -> Instant {
        let passed = self.ms() / u64::from(every.max(1));
        let number = self.count.max(u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(1));
        self.begun + Duration::from_millis(u64::from(every)) * number
    }

    fn is_enough(&self, until: &Until) -> Result<bool, Error> {
        match until {
            Until::Readings(count) => Ok(self.count > *count),
            Until::Reached { meter, at, .. } if self.seen[*meter].last.is_some_and(|last| last >= *at) => {
                Ok(true)
            }
            Until::Reached { meter, at, most } if self.count > *most => {
                let name = &self.series.meters[*meter].name;
                let last =
                    self.seen[*meter].last.map_or_else(|| "nothing".to_owned(), |last| last.to_string());
                Err(Error::new(format!("{name} did not reach {at}"))
                    .rule(format!("the last reading was {last}")))
            }
            Until::Enough { most } => Ok(most.is_some_and(|most| self.count >= most)),
            Until::Ended { .. } if self.begun.elapsed() > PATIENCE => {
                Err(Error::new("the workload does not end").rule("it was to end by itself long ago"))
            }
            _ => Ok(false),
        }
    }
}

fn scale(meter: &Meter) -> Scale {
    // A share is told as a percentage, whatever it was read in.
    let unit = if meter.unit.is_share() { Unit::Share } else { meter.unit };
    Scale { name: meter.name.to_string(), unit, full: meter.full }
}

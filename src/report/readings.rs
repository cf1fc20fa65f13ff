//! Readings for stdout: where watching is what was asked for, its numbers go where reports go, and the telling stays on
//! stderr without them.

use std::io::Write;

use super::chart::Chart;
use super::event::Event;
use super::gauge::Gauge;
use super::style::Style;
use super::{Observer, Pointer};
use crate::error::Error;

/// After so many rows the names of the columns are said again: a screen of the usual height shows them always.
const SCREEN: usize = 20;

/// Writes what meters show, a line for each reading.
pub struct Readings {
    out: Box<dyn Write>,
    style: Style,
    chart: Option<Chart>,
    rows: usize,
    failure: Option<Error>,
    broken: bool,
}

impl Readings {
    /// Writes to `out`, in the style of what it is.
    #[must_use]
    pub fn new(out: Box<dyn Write>, style: Style) -> Self {
        Self { out, style, chart: None, rows: 0, failure: None, broken: false }
    }

    fn write(&mut self, text: &str) {
        if self.broken {
            return;
        }
        if let Err(cause) = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            self.broken = true;
            self.failure = Some(Error::io("could not write to stdout", &cause));
        }
    }
}

impl Observer for Readings {
    fn observe(&mut self, event: &Event) {
        match event {
            Event::Watch { every, meters, .. } => {
                self.chart = Some(Chart::new(meters, *every, &self.style));
                self.rows = 0;
            }
            Event::Reading { ms, values, .. } => {
                let Some(chart) = &self.chart else { return };
                let row = chart.row(*ms, values, &self.style);
                // On a screen the names above the columns scroll away; elsewhere they would be in the way.
                let named = self.rows == 0 || self.style.terminal && self.rows.is_multiple_of(SCREEN);
                let heading = if named { chart.heading(&self.style) } else { String::new() };
                self.rows += 1;
                self.write(&format!("{heading}{row}"));
            }
            _ => {}
        }
    }

    fn failure(&mut self) -> Option<Error> {
        self.failure.take()
    }
}

/// Passes on everything but readings.
pub struct WithoutReadings(pub Box<dyn Observer>);

impl Observer for WithoutReadings {
    fn observe(&mut self, event: &Event) {
        if !matches!(event, Event::Watch { .. } | Event::Reading { .. }) {
            self.0.observe(event);
        }
    }

    fn gauge(&self, what: &str) -> Option<Gauge> {
        self.0.gauge(what)
    }

    fn failure(&mut self) -> Option<Error> {
        self.0.failure()
    }

    fn point(&mut self, pointers: &[Pointer]) {
        self.0.point(pointers);
    }

    fn flush(&mut self) {
        self.0.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use serde_json::json;

    use super::*;
    use crate::probe::meter::Unit;
    use crate::report::event::Scale;
    use crate::report::page::Page;

    fn events(count: u64) -> Vec<Event> {
        let (step, actor) = ("1".to_owned(), "parent".to_owned());
        let meters = vec![Scale { name: "pids".into(), unit: Unit::Count, full: None }];
        let mut all = vec![Event::Watch { step: step.clone(), actor: actor.clone(), every: 1000, meters }];
        all.extend((0..count).map(|at| Event::Reading {
            step: step.clone(),
            actor: actor.clone(),
            ms: at * 1000,
            values: json!({ "pids": at }),
        }));
        all
    }

    #[test]
    fn the_names_of_the_columns_are_said_again_on_a_screen_only() {
        for (terminal, headings) in [(false, 1), (true, 3)] {
            let page = Page::default();
            let mut readings = Readings::new(Box::new(page.clone()), Style { terminal, ..Style::plain() });
            events(45).iter().for_each(|event| readings.observe(event));
            let text = String::from_utf8(page.0.take()).unwrap();
            assert_eq!((text.matches("pids").count(), text.lines().count()), (headings, 45 + headings));
            assert!(readings.failure().is_none());
        }
    }

    #[test]
    fn what_cannot_be_written_is_said_once() {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut readings = Readings::new(Box::new(full), Style::plain());
        events(3).iter().for_each(|event| readings.observe(event));
        assert_eq!(readings.failure().unwrap().parts().errno, Some(nix::errno::Errno::ENOSPC as i32));
        assert!(readings.failure().is_none());
    }

    #[test]
    fn the_telling_has_the_rest() {
        struct Count(Rc<RefCell<usize>>);
        impl Observer for Count {
            fn observe(&mut self, _: &Event) {
                *self.0.borrow_mut() += 1;
            }
        }
        let count = Rc::new(RefCell::new(0));
        let mut rest = WithoutReadings(Box::new(Count(count.clone())));
        events(3).iter().for_each(|event| rest.observe(event));
        rest.observe(&Event::Done { status: 0, us: 1 });
        assert_eq!(*count.borrow(), 1);
    }
}

//! Everything that is measured, as files for the pictures and as tables for the document.
//!
//! Random numbers are the same at every run, and times are integers: so each file is the same on every machine, and
//! differs only if an algorithm decides differently.

mod cost;
mod limiters;
mod play;
mod scenarios;

use std::fmt::Write as _;

use cost::Cost;
use play::Course;
use scenarios::Scenario;

/// The outcome of all runs.
pub struct Results {
    /// For each scenario, each limiter's course.
    courses: Vec<(Scenario, Vec<Course>)>,
    costs: Vec<Cost>,
}

impl Results {
    /// Runs everything: some seconds.
    pub fn compute() -> Self {
        let courses = scenarios::all()
            .into_iter()
            .map(|scenario| {
                let courses = limiters::drawn()
                    .into_iter()
                    .map(|(name, limiter)| play::play(name, limiter, &scenario))
                    .collect();
                (scenario, courses)
            })
            .collect();
        Self {
            courses,
            costs: cost::measure(),
        }
    }

    /// The CSV files: name and contents.
    pub fn files(&self) -> Vec<(String, String)> {
        let mut files: Vec<_> = self
            .courses
            .iter()
            .map(|(scenario, courses)| (format!("{}.csv", scenario.name), play::csv(courses)))
            .collect();
        files.push(("cost.csv".to_owned(), cost::csv(&self.costs)));
        files
    }

    /// The tables of the document, in its markup.
    pub fn tables(&self) -> Vec<String> {
        vec![self.peaks(), cost::table(&self.costs)]
    }

    /// The most that each limiter admits in each scenario.
    fn peaks(&self) -> String {
        let mut table = String::from(
            "| traffic | limiter | requests | admitted | most in 60 s | most in 1 s |\n\
             |---|---|---:|---:|---:|---:|\n",
        );
        for (scenario, courses) in &self.courses {
            for course in courses {
                writeln!(
                    table,
                    "| {} | {} | {} | {} | {} | {} |",
                    scenario.title,
                    course.limiter,
                    course.events.len(),
                    course.admitted().count(),
                    course.most_within(60),
                    course.most_within(1),
                )
                .expect("a String takes everything");
            }
        }
        table
    }
}

//! All scenarios at once, including those that stop the intake.

use crate::scenarios::mix;
use crate::scenarios::table::EXPECTED;

#[tokio::test]
async fn all_scenarios_at_once_end_each_job_as_those_that_struck_it_call_for_and_nothing_is_paid_twice() {
    // A fault of the account or of the route hits every job for a while, and is then over; each other fault hits one
    // job in a hundred.
    let odds = |name| if crate::scenarios::stops(name) { "0.02,1s,1x" } else { "0.01" };
    mix("mix-all", 500, EXPECTED.iter().map(|(name, _, _)| (*name, odds(name))).collect()).await;
}

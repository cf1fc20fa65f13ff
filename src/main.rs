//! The entry: parse the command line, build the plan, explain or perform it, exit with its code.
fn main() {}

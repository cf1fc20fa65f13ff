//! The only place where the kernel is called: system calls as data, their notation, their manual, and the
//! functions that perform them. The only `unsafe` of the project lives below this module.

pub mod tree;

//! Bodies of the fuzz targets; tests of `qwenc-models` run the same on mutated seeds.

pub mod readers;

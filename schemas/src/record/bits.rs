//! Parts of the block.

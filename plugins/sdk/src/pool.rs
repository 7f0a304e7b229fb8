//! The allocator of every plugin: keeps the small blocks that are given back, by size, for whoever asks next.
//!
//! One call makes and drops some twenty short texts; the allocator below, which merges and sorts what it gets back, takes
//! longer over them than a filter over its event. Here a block is taken from a list and put back on it.
//!
//! Kept blocks stay small blocks: an instance holds, of each size, as many as it ever used at once. When memory runs out
//! they are all given back. The crate's feature `allocator` brings this; without it a plugin names its own.
#![expect(unsafe_code, reason = "an allocator hands out raw memory; `GlobalAlloc` is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ptr;

/// What the allocator below aligns every block to; a stricter wish is not for the pool.
const ALIGN: usize = 8;
/// Sizes double from 16 to 4,096 bytes, so less than half of a block is wasted.
const SMALLEST_BITS: u32 = 4;
const SIZES: usize = 9;
const LARGEST: usize = 1 << (SMALLEST_BITS as usize + SIZES - 1);

/// Lists of free blocks over an allocator. For one thread.
pub(crate) struct Pool<A> {
    below: A,
    /// The first free block of each size. A free block begins with the address of the next.
    free: [Cell<*mut u8>; SIZES],
}

#[cfg(all(target_arch = "wasm32", not(target_feature = "atomics"), feature = "allocator"))]
mod global {
    use std::alloc::System;

    use super::Pool;

    // SAFETY: without atomics there are no threads that could share it.
    unsafe impl Sync for Pool<System> {}

    #[global_allocator]
    static POOL: Pool<System> = Pool::over(System);
}

/// Which list a block of this layout belongs on, where it is one of the pool's.
fn list(layout: Layout) -> Option<usize> {
    if layout.size() > LARGEST || layout.align() > ALIGN {
        return None;
    }
    let bits = usize::BITS - layout.size().saturating_sub(1).leading_zeros();
    Some(bits.saturating_sub(SMALLEST_BITS) as usize)
}

/// The layout of every block on a list.
fn block(list: usize) -> Layout {
    const { assert!(ALIGN.is_power_of_two() && LARGEST < isize::MAX as usize) };
    // SAFETY: `ALIGN` is a power of two, and the size is at most `LARGEST`.
    unsafe { Layout::from_size_align_unchecked(1 << (SMALLEST_BITS as usize + list), ALIGN) }
}

impl<A: GlobalAlloc> Pool<A> {
    pub(crate) const fn over(below: A) -> Self {
        Self { below, free: [const { Cell::new(ptr::null_mut()) }; SIZES] }
    }

    /// Gives every kept block back.
    fn empty(&self) {
        for list in 0..SIZES {
            while let Some(kept) = self.pop(list) {
                // SAFETY: blocks of this list came from below with this layout, and this one is on no list any more.
                unsafe { self.below.dealloc(kept, block(list)) };
            }
        }
    }

    fn pop(&self, list: usize) -> Option<*mut u8> {
        let first = self.free[list].get();
        if first.is_null() {
            return None;
        }
        // SAFETY: only `push` puts blocks here, and it writes the next address first; nobody else owns a kept block.
        self.free[list].set(unsafe { first.cast::<*mut u8>().read() });
        Some(first)
    }

    /// # Safety
    /// The block is of this list's layout, and the caller gives up its only owner.
    unsafe fn push(&self, list: usize, block: *mut u8) {
        // SAFETY: a block holds at least 16 bytes, aligned to 8.
        unsafe { block.cast::<*mut u8>().write(self.free[list].get()) };
        self.free[list].set(block);
    }

    #[cold]
    unsafe fn alloc_below(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        let given = unsafe { self.below.alloc(layout) };
        if !given.is_null() {
            return given;
        }
        self.empty();
        // SAFETY: as above.
        unsafe { self.below.alloc(layout) }
    }
}

// SAFETY: a block is on a list or with one owner, never both; its list follows from its layout alone, which the owner must
// show when giving it back; and every block has at least the size and alignment of the layouts that lead to its list.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Pool<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let list = list(layout);
        if let Some(kept) = list.and_then(|list| self.pop(list)) {
            return kept;
        }
        // SAFETY: the caller's layout has a size, and so has a list's.
        unsafe { self.alloc_below(list.map_or(layout, block)) }
    }

    #[inline]
    unsafe fn dealloc(&self, given: *mut u8, layout: Layout) {
        match list(layout) {
            // SAFETY: `alloc` made it with the layout of this list; the caller gives it up.
            Some(list) => unsafe { self.push(list, given) },
            // SAFETY: `alloc` passed this layout on unchanged.
            None => unsafe { self.below.dealloc(given, layout) },
        }
    }

    unsafe fn realloc(&self, given: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size, rounded up to the alignment, is in range.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (list(layout), list(new_layout)) {
            (Some(old), Some(new)) if old == new => given,
            // SAFETY: neither is the pool's, so the block is from below with this layout. Where that fails, the copy below
            // may still find room among what is kept.
            (None, None) => match unsafe { self.below.realloc(given, layout, new_size) } {
                refused if refused.is_null() => unsafe { self.moved(given, layout, new_layout) },
                moved => moved,
            },
            // SAFETY: the caller's promises, passed on.
            _ => unsafe { self.moved(given, layout, new_layout) },
        }
    }
}

impl<A: GlobalAlloc> Pool<A> {
    /// # Safety
    /// As for [`GlobalAlloc::realloc`].
    unsafe fn moved(&self, given: *mut u8, layout: Layout, new_layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises a new size that is not 0; the two blocks are distinct, and each holds the lesser size.
        unsafe {
            let new = self.alloc(new_layout);
            if !new.is_null() {
                ptr::copy_nonoverlapping(given, new, layout.size().min(new_layout.size()));
                self.dealloc(given, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::System;

    use super::*;

    /// Counts the blocks it lent, and has a limit.
    struct Below {
        lent: Cell<usize>,
        limit: usize,
    }

    // SAFETY: `System` does the work.
    unsafe impl GlobalAlloc for Below {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            if self.lent.get() == self.limit {
                return ptr::null_mut();
            }
            self.lent.set(self.lent.get() + 1);
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, given: *mut u8, layout: Layout) {
            self.lent.set(self.lent.get() - 1);
            unsafe { System.dealloc(given, layout) }
        }
    }

    fn pool(limit: usize) -> Pool<Below> {
        Pool::over(Below { lent: Cell::new(0), limit })
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 1).unwrap()
    }

    #[test]
    fn a_block_is_used_again_for_what_fits_it() {
        let pool = pool(10);
        unsafe {
            let first = pool.alloc(layout(17));
            pool.dealloc(first, layout(17));
            assert_eq!(pool.alloc(layout(32)), first);
            assert_ne!(pool.alloc(layout(32)), first);
            assert_ne!(pool.alloc(layout(33)), first);
        }
        assert_eq!(pool.below.lent.get(), 3);
    }

    #[test]
    fn every_size_has_a_block_that_holds_it() {
        for size in 1..=LARGEST {
            let block = block(list(layout(size)).unwrap());
            assert!(block.size() >= size && (block.size() < 2 * size || block.size() == 16), "{size}: {block:?}");
        }
        assert_eq!(list(layout(LARGEST + 1)), None);
        assert_eq!(list(Layout::from_size_align(16, 16).unwrap()), None);
    }

    #[test]
    fn growing_keeps_the_content_and_moves_only_out_of_its_size() {
        let pool = pool(10);
        unsafe {
            let first = pool.alloc(layout(20));
            for at in 0..20 {
                first.add(at).write(at as u8);
            }
            assert_eq!(pool.realloc(first, layout(20), 32), first);
            let mut block = (first, 32);
            for size in [100, LARGEST, LARGEST + 1, 3 * LARGEST, 50] {
                block = (pool.realloc(block.0, layout(block.1), size), size);
                assert!((0..20).all(|at| *block.0.add(at) == at as u8), "{size}");
            }
        }
    }

    #[test]
    fn what_is_kept_is_given_back_before_memory_is_refused() {
        let pool = pool(2);
        unsafe {
            let kept = [pool.alloc(layout(16)), pool.alloc(layout(64))];
            pool.dealloc(kept[0], layout(16));
            pool.dealloc(kept[1], layout(64));
            let large = [pool.alloc(layout(10_000)), pool.alloc(layout(10_000))];
            assert!(large.iter().all(|given| !given.is_null()));
            assert!(pool.alloc(layout(16)).is_null());
        }
    }
}

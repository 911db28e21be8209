//! A backend that draws its letters from a bitmap font, and leaves everything else to the one below it.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontTransform,
};

const HEIGHT: RasterHeight = RasterHeight::Size16;

/// The one below.
pub(crate) struct Lettered<B>(B);

impl<B: DrawingBackend> Lettered<B> {
    pub(crate) fn on(below: B) -> Self {
        Self(below)
    }
}

fn length(text: &str) -> i32 {
    let width = text.chars().count() * get_raster_width(FontWeight::Regular, HEIGHT);
    i32::try_from(width).unwrap_or(i32::MAX)
}

fn height() -> i32 {
    i32::try_from(HEIGHT.val()).expect("a small number")
}

/// Where the text begins, and how a step along and across it moves on the picture.
fn place<S: BackendTextStyle>(text: &str, style: &S, at: BackendCoord) -> (BackendCoord, [BackendCoord; 2]) {
    let anchor = style.anchor();
    let along = match anchor.h_pos {
        HPos::Left => 0,
        HPos::Center => -length(text) / 2,
        HPos::Right => -length(text),
    };
    let across = match anchor.v_pos {
        VPos::Top => 0,
        VPos::Center => -height() / 2,
        VPos::Bottom => -height(),
    };
    let [x, y] = match style.transform() {
        FontTransform::None => [(1, 0), (0, 1)],
        FontTransform::Rotate90 => [(0, 1), (-1, 0)],
        FontTransform::Rotate180 => [(-1, 0), (0, -1)],
        FontTransform::Rotate270 => [(0, -1), (1, 0)],
    };
    ((at.0 + along * x.0 + across * y.0, at.1 + along * x.1 + across * y.1), [x, y])
}

impl<B: DrawingBackend> DrawingBackend for Lettered<B> {
    type ErrorType = B::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.0.get_size()
    }

    fn ensure_prepared(&mut self) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.0.ensure_prepared()
    }

    fn present(&mut self) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.0.present()
    }

    fn draw_pixel(
        &mut self,
        point: BackendCoord,
        color: BackendColor,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.0.draw_pixel(point, color)
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        at: BackendCoord,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        let (start, [x, y]) = place(text, style, at);
        let color = style.color();
        for (column, letter) in (0_i32..).zip(text.chars()) {
            let Some(raster) = get_raster(letter, FontWeight::Regular, HEIGHT) else { continue };
            let from = column * length("m");
            for (down, row) in (0_i32..).zip(raster.rows()) {
                for (right, ink) in (from..).zip(row).filter(|(_, ink)| **ink > 0) {
                    let point = (start.0 + right * x.0 + down * y.0, start.1 + right * x.1 + down * y.1);
                    let color = BackendColor { alpha: opacity(color.alpha, *ink), ..color };
                    self.0.draw_pixel(point, color)?;
                }
            }
        }
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Self::ErrorType>> {
        let size = (length(text).unsigned_abs(), height().unsigned_abs());
        Ok(match style.transform() {
            FontTransform::None | FontTransform::Rotate180 => size,
            FontTransform::Rotate90 | FontTransform::Rotate270 => (size.1, size.0),
        })
    }
}

#[expect(clippy::float_arithmetic, reason = "how dark a pixel is")]
fn opacity(alpha: f64, ink: u8) -> f64 {
    alpha * f64::from(ink) / 255.0
}

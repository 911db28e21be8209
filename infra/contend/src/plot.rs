//! The plot of the experiment: calls over workers, a line for each strategy, the simulator's points beside it.
//!
//! No font of the system is needed: an SVG names one, and a PNG is lettered with a bitmap font that is compiled in.

mod lettered;

use std::path::Path;

use plotters::prelude::*;

use self::lettered::Lettered;
use super::Summary;
use settler::core::jitter::Strategy;

const SIZE: (u32, u32) = (960, 600);
/// One for each of [`Strategy::ALL`], told apart also without colour sight.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(213, 94, 0),
];

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Whether a file of this name can be drawn.
pub(crate) fn is_drawable(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "svg" || extension == "png")
}

/// Draws it into a file whose name ends in `.svg` or `.png`.
pub(crate) fn draw(path: &Path, hot_row: &str, lines: &[Summary]) -> Result<(), Failed> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => {
            let mut text = String::new();
            chart(SVGBackend::with_string(&mut text, SIZE), hot_row, lines)?;
            Ok(std::fs::write(path, text)?)
        }
        Some("png") => {
            let mut pixels = vec![255; usize::try_from(SIZE.0 * SIZE.1 * 3)?];
            chart(Lettered::on(BitMapBackend::with_buffer(&mut pixels, SIZE)), hot_row, lines)?;
            let mut encoder = png::Encoder::new(std::fs::File::create(path)?, SIZE.0, SIZE.1);
            encoder.set_color(png::ColorType::Rgb);
            encoder.set_depth(png::BitDepth::Eight);
            let mut writer = encoder.write_header()?;
            writer.write_image_data(&pixels)?;
            Ok(writer.finish()?)
        }
        _ => Err("a plot is a file that ends in .svg or .png".into()),
    }
}

#[expect(clippy::float_arithmetic, reason = "places on a plot")]
fn chart<B: DrawingBackend>(backend: B, hot_row: &str, lines: &[Summary]) -> Result<(), Failed>
where
    B::ErrorType: 'static,
{
    let told = |error: DrawingAreaErrorKind<B::ErrorType>| Failed::from(error.to_string());
    let area = backend.into_drawing_area();
    area.fill(&WHITE).map_err(told)?;
    let most_workers = f64::from(lines.iter().map(|line| line.workers).max().unwrap_or(1));
    let simulated = |line: &Summary| line.simulated.map_or(0.0, |(calls, _)| calls);
    let most_calls = lines.iter().map(|line| line.calls.max(simulated(line))).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("Workers that race for one {hot_row}: attempts in all"), ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..most_workers * 1.05, 0.0..most_calls * 1.05)
        .map_err(told)?;
    chart
        .configure_mesh()
        .x_desc("workers")
        .y_desc("attempts (ring: AWS's simulator)")
        .label_style(("sans-serif", 16))
        .axis_desc_style(("sans-serif", 16))
        .draw()
        .map_err(told)?;
    for (strategy, colour) in Strategy::ALL.into_iter().zip(COLOURS) {
        let own: Vec<&Summary> = lines.iter().filter(|line| line.strategy == strategy.as_str()).collect();
        if own.is_empty() {
            continue;
        }
        let points = own.iter().map(|line| (f64::from(line.workers), line.calls));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))
            .map_err(told)?
            .label(strategy.as_str())
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], colour.stroke_width(2)));
        let known = own.iter().filter(|line| line.simulated.is_some());
        let rings = known.map(|line| Circle::new((f64::from(line.workers), simulated(line)), 4, colour));
        chart.draw_series(rings).map_err(told)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(("sans-serif", 16))
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()
        .map_err(told)?;
    area.present().map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Summary> {
        let line = |strategy: Strategy, workers: u16, calls| Summary {
            strategy: strategy.to_string(),
            workers,
            calls,
            completion_ms: 1.0,
            attempts_max: 3,
            beyond_three_retries: 0,
            simulated: Some((calls, 1.0)),
        };
        vec![line(Strategy::Full, 10, 41.0), line(Strategy::Full, 20, 99.0), line(Strategy::None, 10, 60.0)]
    }

    #[test]
    fn both_kinds_of_file_are_drawn_with_their_letters() {
        let folder = tempfile::tempdir().unwrap();
        let (svg, png) = (folder.path().join("plot.svg"), folder.path().join("plot.png"));
        draw(&svg, "account", &lines()).unwrap();
        let text = std::fs::read_to_string(svg).unwrap();
        for word in ["<svg", "workers", "full", "none"] {
            assert!(text.contains(word), "{word}");
        }
        draw(&png, "account", &lines()).unwrap();
        let mut reader = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(png).unwrap()))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((frame.width, frame.height), SIZE);
        // The caption's rows hold dark pixels: letters that were really drawn.
        let rows = pixels.chunks(usize::try_from(SIZE.0 * 3).unwrap()).take(48);
        let dark = rows.flatten().filter(|value| **value < 100).count();
        assert!(dark > 500, "{dark}");
        assert!(draw(Path::new("plot.gif"), "account", &lines()).is_err());
    }
}

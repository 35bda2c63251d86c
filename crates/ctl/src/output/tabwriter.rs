//! Columns aligned with spaces, as Go's `text/tabwriter` aligns them.
//!
//! **Contract.** A cell is what a tab ends; text after a line's last tab belongs to no column. A column is a run of
//! consecutive lines that have a cell at that place. Widths can be remembered from one call to the next (watches).

/// Aligns text whose cells end with tabs.
#[derive(Debug, Clone)]
pub(crate) struct TabWriter {
    minimum: usize,
    padding: usize,
    remember: bool,
    remembered: Vec<usize>,
}

impl TabWriter {
    /// The writer of `get`: three spaces between columns, six at least, widths remembered.
    pub(crate) fn table() -> Self {
        Self { minimum: 6, padding: 3, remember: true, remembered: Vec::new() }
    }

    /// The writer of `describe`: two spaces between columns.
    pub(crate) fn describe() -> Self {
        Self { minimum: 0, padding: 2, remember: false, remembered: Vec::new() }
    }

    /// Aligns `text`.
    pub(crate) fn align(&mut self, text: &str) -> String {
        let mut lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
        let ends_with_newline = lines.last().is_some_and(|cells| cells.len() == 1 && cells[0].is_empty());
        if ends_with_newline {
            lines.pop();
        }
        let mut out = String::with_capacity(text.len() * 2);
        self.block(&mut out, &mut Vec::new(), &lines, 0, lines.len());
        if !ends_with_newline && out.ends_with('\n') {
            out.pop();
        }
        out
    }

    /// Formats lines `from..to`, whose leading columns have the given widths.
    fn block(
        &mut self,
        out: &mut String,
        widths: &mut Vec<usize>,
        lines: &[Vec<&str>],
        from: usize,
        to: usize,
    ) {
        let column = widths.len();
        let mut done = from;
        let mut at = from;
        while at < to {
            if column + 1 >= lines[at].len() {
                at += 1;
                continue;
            }
            // A column begins here: everything above it is final.
            write_lines(out, widths, &lines[done..at]);
            let start = at;
            let mut width = self.minimum;
            while at < to && column + 1 < lines[at].len() {
                let cell = lines[at][column].chars().count();
                width = width.max(cell + self.padding);
                at += 1;
            }
            if self.remember {
                match self.remembered.get_mut(column) {
                    Some(known) if *known > width => width = *known,
                    Some(known) => *known = width,
                    None => self.remembered.push(width),
                }
            }
            widths.push(width);
            self.block(out, widths, lines, start, at);
            widths.pop();
            done = at;
        }
        write_lines(out, widths, &lines[done..to]);
    }
}

fn write_lines(out: &mut String, widths: &[usize], lines: &[Vec<&str>]) {
    for cells in lines {
        for (index, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if index + 1 < cells.len()
                && let Some(width) = widths.get(index)
            {
                let used = cell.chars().count();
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(used)));
            }
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_runs_of_lines_only() {
        let text = "Name:\tx\nLabels:\ta=b\n\tlonger=1\nIPs:\n  IP:\t1.2.3.4\nControlled By:\tme\n";
        assert_eq!(
            TabWriter::describe().align(text),
            "Name:    x\nLabels:  a=b\n         longer=1\nIPs:\n  IP:           1.2.3.4\nControlled By:  me\n"
        );
    }

    #[test]
    fn remembers_widths_between_calls() {
        let mut writer = TabWriter::table();
        assert_eq!(writer.align("NAME\tAGE\nlonger-name\t1s\n"), "NAME          AGE\nlonger-name   1s\n");
        assert_eq!(writer.align("x\t2s\n"), "x             2s\n");
    }

    #[test]
    fn inner_columns_nest() {
        let text = "a\tb\tc\naaa\tbbb\tc\nx\ty\n";
        assert_eq!(TabWriter::describe().align(text), "a    b    c\naaa  bbb  c\nx    y\n");
    }
}

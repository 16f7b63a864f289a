"""Small charts as inline SVG: lines over a numeric axis, and groups of bars."""

import html

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 520, 230, 80, 12, 12, 34
COLOURS = ("#2f6fb2", "#d1762c", "#3d8f5f", "#8a5fb0", "#b0413e", "#5f6b76")


def number(value):
    """A number with four significant digits, or as a whole number from 1000."""
    return "%.0f" % value if abs(value) >= 1000 else "%.4g" % value


def _scale(low, high, first, last):
    """Function: number -> position on an axis from `first` to `last`."""
    span = (high - low) or 1.0
    return lambda value: first + (value - low) / span * (last - first)


def _frame(body, label, legend):
    names = "".join('<span><i style="background:%s"></i>%s</span>' % (colour, html.escape(name))
                    for name, colour in legend)
    return ('<figure><figcaption>%s</figcaption><svg viewBox="0 0 %d %d" role="img" '
            'aria-label="%s">%s</svg>'
            '<div class="legend">%s</div></figure>'
            % (html.escape(label), WIDTH, HEIGHT, html.escape(label, True), "".join(body), names))


def _y_axis(low, high, place):
    body = []
    for part in range(5):
        value = low + (high - low) * part / 4.0
        body.append('<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>'
                    '<text x="%d" y="%.1f" text-anchor="end">%s</text>'
                    % (LEFT, WIDTH - RIGHT, place(value), place(value), LEFT - 6, place(value) + 4,
                       number(value)))
    return body


def lines(label, x_label, series):
    """Chart of curves.

    Args:
      label, x_label: text.
      series: list of (name, [(x, y)]), each with at least one point; a single point is a dot.
    Returns: text of HTML.
    """
    xs = [x for _, points in series for x, _ in points]
    ys = [y for _, points in series for _, y in points]
    low, high = min(ys), max(ys)
    if low == high:
        low, high = low - abs(low or 1.0) / 2, high + abs(high or 1.0) / 2
    x_place = _scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y_place = _scale(low, high, HEIGHT - BOTTOM, TOP)
    body = _y_axis(low, high, y_place)
    for value, anchor in ((min(xs), "start"), (max(xs), "end")):
        body.append('<text x="%.1f" y="%d" text-anchor="%s">%s</text>'
                    % (x_place(value), HEIGHT - BOTTOM + 16, anchor, number(value)))
    body.append('<text x="%d" y="%d" text-anchor="middle">%s</text>'
                % ((LEFT + WIDTH - RIGHT) // 2, HEIGHT - 4, html.escape(x_label)))
    for (_, points), colour in zip(series, COLOURS):
        places = [(x_place(x), y_place(y)) for x, y in points]
        if len(places) > 1:
            body.append('<path stroke="%s" d="M%s"/>'
                        % (colour, "L".join("%.1f %.1f" % place for place in places)))
        else:
            body.append('<circle fill="%s" cx="%.1f" cy="%.1f" r="4"/>' % ((colour,) + places[0]))
    return _frame(body, label, [(name, colour) for (name, _), colour in zip(series, COLOURS)])


def bars(label, groups, series):
    """Chart of bars that start at 0.

    Args:
      label: text.
      groups: names along the axis.
      series: list of (name, values); one value for each group, None where there is none.
    Returns: text of HTML.
    """
    known = [value for _, values in series for value in values if value is not None]
    high = max(known, default=1.0) or 1.0
    y_place = _scale(0.0, high, HEIGHT - BOTTOM, TOP)
    step = (WIDTH - LEFT - RIGHT) / float(len(groups))
    body, width = _y_axis(0.0, high, y_place), 0.8 * step / len(series)
    for at, name in enumerate(groups):
        left = LEFT + at * step
        body.append('<text x="%.1f" y="%d" text-anchor="middle">%s</text>'
                    % (left + step / 2, HEIGHT - BOTTOM + 16, html.escape(str(name))))
        for place, ((_, values), colour) in enumerate(zip(series, COLOURS)):
            if values[at] is not None:
                body.append('<rect fill="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>'
                            % (colour, left + 0.1 * step + place * width, y_place(values[at]),
                               width, HEIGHT - BOTTOM - y_place(values[at])))
    return _frame(body, label, [(name, colour) for (name, _), colour in zip(series, COLOURS)])

"""The evaluation report as one HTML file that needs nothing else: no network, no scripts."""

import base64
from collections.abc import Mapping

from markupsafe import Markup

from data_contracts.pages.page import render
from tasks.evaluation.metrics.table import METRICS, MetricTable
from tasks.evaluation.report import Report, format_difference, format_p_value
from tasks.evaluation.report_plots import plot_confusion, plot_results
from tasks.recordings.codec import media_type


def render_report(
    report: Report, audio: Mapping[str, bytes], metrics: MetricTable = METRICS
) -> str:
    """Write the page as HTML text; the same report gives the same bytes.

    Args:
        audio: audio files by clip id, for the clips of `report.examples`. A clip that is missing
            is named without a player.
        metrics: the table in which the report's metrics are looked up.
    """
    return render(
        "report.html",
        title=report.title,
        report=report,
        metrics=metrics,
        format_difference=format_difference,
        format_p_value=format_p_value,
        results_plot=Markup(plot_results(report, "results", metrics)),
        confusion_plots=_confusion_plots(report),
        players={clip: _data_url(content) for clip, content in audio.items()},
    )


def _confusion_plots(report: Report) -> dict[str, list[Markup]]:
    """The matrices of each suite, a checkpoint after the other."""
    plots: dict[str, list[Markup]] = {}
    for index, confusion in enumerate(report.confusions):
        plot = Markup(plot_confusion(confusion, f"confusion{index}"))
        plots.setdefault(confusion.suite, []).append(plot)
    return plots


def _data_url(audio: bytes) -> str:
    return f"data:{media_type(audio)};base64,{base64.b64encode(audio).decode()}"

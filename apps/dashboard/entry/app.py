r"""The entry script of the dashboard: `pulsebayes dashboard` hands it to Streamlit, which cannot import relatively."""

from __future__ import annotations


def run() -> None:
    r"""List the pages and run the one that is asked for."""
    import streamlit as st

    from pulsebayes.apps.dashboard import look, session
    from pulsebayes.apps.dashboard.pages.about import about
    from pulsebayes.apps.dashboard.pages.compare import compare
    from pulsebayes.apps.dashboard.pages.equations import equations
    from pulsebayes.apps.dashboard.pages.estimates import estimates
    from pulsebayes.apps.dashboard.pages.monitor import monitor
    from pulsebayes.apps.dashboard.pages.open import open_page
    from pulsebayes.apps.dashboard.pages.trend import trend_page
    from pulsebayes.apps.dashboard.pages.trust import trust
    from pulsebayes.apps.dashboard.pages.what_if import what_if
    from pulsebayes.apps.dashboard.pages.why import why

    st.set_page_config(page_title="pulsebayes", page_icon=look.icon(), layout="wide")
    look.style()
    session.start()
    pages = {
        "open": st.Page(open_page, title="Open", url_path="open", default=True),
        "monitor": st.Page(monitor, title="Monitor", url_path="monitor"),
        "estimates": st.Page(estimates, title="Estimates", url_path="estimates"),
        "trend": st.Page(trend_page, title="Trend", url_path="trend"),
        "why": st.Page(why, title="Why", url_path="why"),
        "trust": st.Page(trust, title="Trust", url_path="trust"),
        "compare": st.Page(compare, title="Compare", url_path="compare"),
        "what-if": st.Page(what_if, title="What-if", url_path="what-if"),
        "equations": st.Page(equations, title="Equations", url_path="equations"),
        "about": st.Page(about, title="About", url_path="about"),
    }
    st.session_state["pages"] = pages
    st.navigation(list(pages.values()), position="top").run()
    session.write_address()


if __name__ == "__main__":
    run()

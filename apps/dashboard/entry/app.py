r"""The entry script of the dashboard: `pulsebayes dashboard` hands it to Streamlit, which cannot import relatively."""

from __future__ import annotations


def run() -> None:
    r"""List the pages and run the one that is asked for."""
    import streamlit as st

    from pulsebayes.apps.dashboard import look, session
    from pulsebayes.apps.dashboard.pages.estimates import estimates
    from pulsebayes.apps.dashboard.pages.monitor import monitor
    from pulsebayes.apps.dashboard.pages.open import open_page

    st.set_page_config(page_title="pulsebayes", page_icon=look.icon(), layout="wide")
    look.style()
    session.start()
    pages = {
        "open": st.Page(open_page, title="Open", url_path="open", default=True),
        "monitor": st.Page(monitor, title="Monitor", url_path="monitor"),
        "estimates": st.Page(estimates, title="Estimates", url_path="estimates"),
    }
    st.session_state["pages"] = pages
    st.navigation(list(pages.values()), position="top").run()
    session.write_address()


if __name__ == "__main__":
    run()

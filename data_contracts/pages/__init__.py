"""HTML pages: one way to render, one style, one content-security policy; the templates of all.

The templates of pages that higher layers write lie here too, so that all look and behave alike.
"""

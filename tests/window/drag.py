"""A window to drag a file from, as from a file manager. Needs GTK 3; run beside Blender in the same display."""

import sys

import gi

gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, GLib, Gtk  # noqa: E402

button = Gtk.Button(label=sys.argv[1])
button.drag_source_set(Gdk.ModifierType.BUTTON1_MASK, [], Gdk.DragAction.COPY)
button.drag_source_add_uri_targets()
button.connect("drag-data-get", lambda _, __, data, ___, ____: data.set_uris([GLib.filename_to_uri(sys.argv[1])]))
button.connect("drag-end", lambda *_: Gtk.main_quit())
window = Gtk.Window(title="files", default_width=160, default_height=60)
window.add(button)
window.set_keep_above(True)
window.show_all()
window.move(60, 640)
Gtk.main()

from __future__ import annotations

from rest_framework.routers import SimpleRouter

from .views import NoteViewSet

router = SimpleRouter(use_regex_path=False)
router.register("notes", NoteViewSet)

urlpatterns = router.urls

"""Tests of the files of the API page, as the shop's server sends them."""

import http.client
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

import shop_server


class ApiPage(unittest.TestCase):
    def setUp(self):
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.page = folder / "api"
        self.page.mkdir()
        (folder / "secret.js").write_text("secret")
        (self.page / "index.html").write_text("<main>")
        (self.page / "openapi.yaml").write_text("openapi: 3.1.1")
        self.enterContext(mock.patch.object(shop_server, "API_PAGE", self.page))
        self.server = shop_server.serve(types.SimpleNamespace(api_url="http://127.0.0.1:1"), 0)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=10)
        self.addCleanup(connection.close)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type"), response.read().decode()

    def test_page_and_document_are_served(self):
        self.assertEqual(self.get("/api/"), (200, "text/html; charset=utf-8", "<main>"))
        self.assertEqual(self.get("/api/openapi.yaml"), (200, "text/yaml; charset=utf-8", "openapi: 3.1.1"))

    def test_other_files_are_not_served(self):
        for path in ("/api/missing.js", "/api/../secret.js", "/secret.js", "/api/api/index.html"):
            self.assertEqual(self.get(path)[0], 404, path)


if __name__ == "__main__":
    unittest.main()

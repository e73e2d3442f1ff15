"""JWT authentication for Django REST framework with tokens that can be revoked.

What a project imports:

``sessions``        start, verify, refresh, revoke and revoke_all: the product
``users``           the user behind the claims of an access token
``claims``          the claims of a verified access token
``errors``          what is raised
``signals``         what happens to sessions
``models``          the sessions and the denylist
``authentication``  the authentication classes
``permissions``     scopes
``views``           the endpoints, to be subclassed
``serializers``     what the endpoints read and write
``throttling``      the throttles of the endpoints
``openapi``         the schema for drf-spectacular
``admin``           the sessions of a user in a project's own UserAdmin
``pruning``         delete what has expired
``conf``            the settings
``test``            a client for the tests of a project

The other folders are machinery: a project imports nothing from them.
"""

__version__ = "0.1.0"
